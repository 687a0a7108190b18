/*
 * pvfreeze: looks into a PV domain that was created paused and has never run an instruction.
 *
 *   pvfreeze DOMID dump DIR    what Xen's own builder made of it:
 *                                vcpu.bin         vcpu 0's struct vcpu_guest_context
 *                                shared_info.bin  the page
 *                                p2m.bin          u64 for each pfn, all ones where there is no frame
 *                                pages.bin        for each page that is not all zeros: u64 pfn, 4096 bytes
 *   pvfreeze DOMID prep        does what the guest's own suspend code would do, so that `xl save` can take it
 *   pvfreeze DOMID suspend     tells Xen that the guest has suspended itself, which it cannot do as it never ran
 *
 * Source: xen/include/public/{xen,arch-x86/xen}.h; Xen docs/specs/libxc-migration-stream.pandoc (what save expects).
 * Gotcha: Xen already touched the tables when it pinned them: it adds the user bit to leaf entries and its own L4 slots.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xenctrl.h>
#include <xenforeignmemory.h>

#define PAGE 4096u
#define BATCH 1024u

static xc_interface *xch;
static xenforeignmemory_handle *fmem;
static uint32_t dom;
static unsigned width; /* bytes of a guest word: 8 or 4 */
static vcpu_guest_context_any_t vcpu;

static void die(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fputs("pvfreeze: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  exit(1);
}

static void *map_frame(xen_pfn_t mfn) {
  int error = 0;
  void *page = xenforeignmemory_map(fmem, dom, PROT_READ | PROT_WRITE, 1, &mfn, &error);
  if (!page || error) die("cannot map frame %#lx", (unsigned long)mfn);
  return page;
}

/* The page at a virtual address of the guest's kernel. */
static uint8_t *map_virtual(uint64_t vaddr) {
  unsigned long mfn = xc_translate_foreign_address(xch, dom, 0, vaddr);
  if (!mfn) die("address %#lx is not mapped", (unsigned long)vaddr);
  return map_frame(mfn);
}

/* A field of the guest's own width at `offset` of one of its structures. */
static uint64_t get_word(const uint8_t *at, unsigned offset) {
  if (width == 8) return *(const uint64_t *)(at + offset);
  return *(const uint32_t *)(at + offset);
}

static void set_word(uint8_t *at, unsigned offset, uint64_t value) {
  if (width == 8) *(uint64_t *)(at + offset) = value;
  else *(uint32_t *)(at + offset) = value;
}

/* Where the fields lie in each ABI's structures. */
struct offsets {
  unsigned nr_pages, store_mfn, console_mfn, mfn_list;
  unsigned max_pfn, p2m_cr3, p2m_vaddr;
};
#define OFFSETS(abi)                                                                                              \
  {                                                                                                               \
    offsetof(start_info_##abi##_t, nr_pages), offsetof(start_info_##abi##_t, store_mfn),                          \
        offsetof(start_info_##abi##_t, console.domU.mfn), offsetof(start_info_##abi##_t, mfn_list),               \
        offsetof(shared_info_##abi##_t, arch.max_pfn), offsetof(shared_info_##abi##_t, arch.p2m_cr3),             \
        offsetof(shared_info_##abi##_t, arch.p2m_vaddr)                                                           \
  }
static const struct offsets offsets64 = OFFSETS(x86_64);
static const struct offsets offsets32 = OFFSETS(x86_32);
static const struct offsets *at;

static uint8_t *start_info;
static uint64_t start_info_mfn;
static uint64_t nr_pages;
static uint64_t *p2m;

static void read_start_info(void) {
  uint64_t vaddr = width == 8 ? vcpu.x64.user_regs.rsi : vcpu.x32.user_regs.esi;
  start_info_mfn = xc_translate_foreign_address(xch, dom, 0, vaddr);
  start_info = map_virtual(vaddr);
  if (memcmp(start_info, "xen-3.0-x86_", 12) != 0) die("no start_info at %#lx: has it run?", (unsigned long)vaddr);
  nr_pages = get_word(start_info, at->nr_pages);

  uint64_t list = get_word(start_info, at->mfn_list);
  unsigned per_page = PAGE / width;
  p2m = malloc(nr_pages * sizeof *p2m);
  if (!p2m) die("no memory for %lu pages", (unsigned long)nr_pages);
  for (uint64_t pfn = 0; pfn < nr_pages; pfn += per_page) {
    uint8_t *page = map_virtual(list + pfn * width);
    for (uint64_t i = 0; i < per_page && pfn + i < nr_pages; i++) {
      uint64_t mfn = get_word(page, i * width);
      p2m[pfn + i] = width == 4 && mfn == UINT32_MAX ? UINT64_MAX : mfn;
    }
    xenforeignmemory_unmap(fmem, page, 1);
  }
}

static uint64_t pfn_of(uint64_t mfn) {
  for (uint64_t pfn = 0; pfn < nr_pages; pfn++)
    if (p2m[pfn] == mfn) return pfn;
  die("frame %#lx is not the guest's", (unsigned long)mfn);
  return 0;
}

static FILE *create(const char *dir, const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *file = fopen(path, "wb");
  if (!file) die("cannot write %s", path);
  return file;
}

static void put(FILE *file, const void *bytes, size_t size) {
  if (fwrite(bytes, 1, size, file) != size) die("cannot write");
}

static void write_file(const char *dir, const char *name, const void *bytes, size_t size) {
  FILE *file = create(dir, name);
  put(file, bytes, size);
  if (fclose(file)) die("cannot write %s", name);
}

static void dump(const char *dir, const uint8_t *shared_info) {
  static const uint8_t zeros[PAGE];
  mkdir(dir, 0777);
  if (width == 8) write_file(dir, "vcpu.bin", &vcpu.x64, sizeof vcpu.x64);
  else write_file(dir, "vcpu.bin", &vcpu.x32, sizeof vcpu.x32);
  write_file(dir, "shared_info.bin", shared_info, PAGE);
  write_file(dir, "p2m.bin", p2m, nr_pages * sizeof *p2m);

  FILE *file = create(dir, "pages.bin");
  uint64_t pfns[BATCH];
  xen_pfn_t mfns[BATCH];
  int errors[BATCH];
  uint64_t written = 0;
  for (uint64_t pfn = 0; pfn < nr_pages;) {
    unsigned count = 0;
    for (; count < BATCH && pfn < nr_pages; pfn++) {
      if (p2m[pfn] == UINT64_MAX) continue;
      pfns[count] = pfn;
      mfns[count++] = p2m[pfn];
    }
    if (!count) break;
    uint8_t *pages = xenforeignmemory_map(fmem, dom, PROT_READ, count, mfns, errors);
    if (!pages) die("cannot map %u frames", count);
    for (unsigned i = 0; i < count; i++) {
      if (errors[i]) die("cannot map pfn %#lx", (unsigned long)pfns[i]);
      if (memcmp(pages + (size_t)i * PAGE, zeros, PAGE) == 0) continue;
      put(file, &pfns[i], sizeof pfns[i]);
      put(file, pages + (size_t)i * PAGE, PAGE);
      written++;
    }
    xenforeignmemory_unmap(fmem, pages, count);
  }
  if (fclose(file)) die("cannot write pages.bin");
  printf("%lu pages, %lu of them not zero\n", (unsigned long)nr_pages, (unsigned long)written);
}

static void prep(uint8_t *shared_info) {
  /* In a save file the two rings go by pfn, as everything does. */
  set_word(start_info, at->store_mfn, pfn_of(get_word(start_info, at->store_mfn)));
  set_word(start_info, at->console_mfn, pfn_of(get_word(start_info, at->console_mfn)));
  /* Save finds the p2m through shared_info, which a kernel fills in as it boots. */
  set_word(shared_info, at->max_pfn, nr_pages);
  set_word(shared_info, at->p2m_vaddr, get_word(start_info, at->mfn_list));
  set_word(shared_info, at->p2m_cr3, width == 8 ? vcpu.x64.ctrlreg[3] : vcpu.x32.ctrlreg[3]);
  /* The suspend hypercall's argument is start_info's frame, and restore looks for it there. */
  if (width == 8) vcpu.x64.user_regs.rdx = start_info_mfn;
  else vcpu.x32.user_regs.edx = start_info_mfn;
  if (xc_vcpu_setcontext(xch, dom, 0, &vcpu)) die("cannot set vcpu 0's registers");
}

int main(int argc, char **argv) {
  const char *command = argc > 2 ? argv[2] : "";
  if (argc != (strcmp(command, "dump") == 0 ? 4 : 3)) die("usage: DOMID dump DIR | DOMID prep | DOMID suspend");
  dom = strtoul(argv[1], NULL, 10);
  xch = xc_interface_open(NULL, NULL, 0);
  fmem = xenforeignmemory_open(NULL, 0);
  if (!xch || !fmem) die("not in dom0 of a Xen");
  if (strcmp(command, "suspend") == 0) {
    if (xc_domain_shutdown(xch, dom, SHUTDOWN_suspend)) die("cannot mark domain %u suspended", dom);
    return 0;
  }

  xc_domaininfo_t info;
  if (xc_domain_getinfolist(xch, dom, 1, &info) != 1 || info.domain != dom) die("no domain %u", dom);
  if (xc_domain_get_guest_width(xch, dom, &width)) die("domain %u has no width", dom);
  if (xc_vcpu_getcontext(xch, dom, 0, &vcpu)) die("domain %u has no vcpu 0", dom);
  at = width == 8 ? &offsets64 : &offsets32;
  uint8_t *shared_info = map_frame(info.shared_info_frame);
  read_start_info();

  if (strcmp(command, "dump") == 0) dump(argv[3], shared_info);
  else if (strcmp(command, "prep") == 0) prep(shared_info);
  else die("no command '%s'", command);
  return 0;
}
