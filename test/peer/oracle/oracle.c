/*
 * oracle - run the classic x86 PV domain builder (libxenguest) with no
 * hypervisor and dump the guest image it produces.
 *
 * Source: the interfaces of Xen 4.14, 4.17 and 4.20: xenguest.h, xenctrl.h and public headers
 * (Debian's libxen-dev); what runs is the library itself, linked dynamically.
 *
 * Every privileged libxenctrl/libxencall/libxenforeignmemory entry point that
 * the builder reaches is defined in this executable, and so pre-empts the
 * library's definition: together they are a toy machine whose RAM is one file,
 * laid out in guest pfn order, with a configurable pfn -> mfn translation.
 *
 * Gotcha: struct k_parms and friends mirror private structures of XEN_RELEASE;
 * parse_image() asserts that they still fit.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <xenctrl.h>
#include <xenforeignmemory.h>
#include <xencall.h>
#include <xenguest.h>
#include <xen/elfnote.h>
#include <xen/features.h>
#include <xen/grant_table.h>
#include <xen/sys/privcmd.h>
#include <xen/foreign/x86_32.h>
#include <xen/foreign/x86_64.h>

#ifndef XEN_RELEASE
#define XEN_RELEASE 417                  /* major * 100 + minor of the library */
#endif

/* ---- private structures of libxenguest that the dump looks into ---- */

struct k_note { int kind; const char *name; union { const char *s; uint64_t n; } v; };

struct k_parms {                        /* dom->parms */
    uintptr_t guest_info, note_start, note_end;
    struct k_note notes[XEN_ELFNOTE_MAX + 1];
    char guest_os[16], guest_ver[16], xen_ver[16], loader[16];
    int pae;
    bool bsd_symtab, unmapped_initrd;
#if XEN_RELEASE >= 419
    bool phys_reloc;
#endif
    uint64_t virt_base, virt_entry, virt_hypercall, virt_hv_start_low,
             p2m_base, elf_paddr_offset;
    uint32_t f_supported[XENFEAT_NR_SUBMAPS], f_required[XENFEAT_NR_SUBMAPS];
    uint32_t phys_entry;
#if XEN_RELEASE >= 419
    uint32_t phys_align, phys_min, phys_max;
#endif
    uint64_t virt_kstart, virt_kend;
};

#if XEN_RELEASE < 415
#include "xenguest-4.14.h"
#endif

struct k_range { uint64_t from, to, pfn; unsigned int tables; };
struct k_map   { struct k_range area, lvl[4]; };
struct k_x86   {                        /* dom->arch_private */
    unsigned int n; struct k_map map[2]; const void *params; void *p2m_guest;
};

/* ------------------------------- settings ------------------------------- */

enum { P2M_ID, P2M_OFF, P2M_REV, P2M_TABLE };

static struct {
    const char *kernel, *ramdisk[2], *cmdline, *features, *out, *p2m, *caps;
    uint64_t ramdisk_va[2];
    int n_ramdisk;
    unsigned int mem_mb;
    int p2m_mode;
    uint64_t p2m_arg;
    uint64_t *p2m_tab;                   /* P2M_TABLE: pfn -> mfn */
    unsigned long flags;
    unsigned int store_port, con_port, store_dom, con_dom;
    uint64_t shinfo_mfn; bool shinfo_set;
    int xen_ver;
    bool anon, bench, quiet, hcpage;
    xen_vmemrange_t vm[8]; unsigned int n_vm;
    size_t max_kernel, max_module; bool mk_set, mm_set;
} opt = {
    .mem_mb = 128, .p2m = "identity", .store_port = 1, .con_port = 2,
    .caps = "xen-3.0-x86_64 xen-3.0-x86_32p ", .xen_ver = 0x40011,
};

/* ------------------------------- the machine ---------------------------- */

static xc_interface *xch;
static struct xc_dom_image *dom;
static int ram_fd = -1, shinfo_fd = -1;
static uint64_t ram_pfns;               /* size of the backing file, pages */

static struct { uint64_t mfn, pfn; } *m2p_sorted, moved[16];
static unsigned int n_moved;
static uint64_t low_next = 0x100;        /* xc_make_page_below_4G pool */

static vcpu_guest_context_any_t vctx;
static bool have_vctx;
static uint64_t hcall_pfn = ~0ULL, hcall_mfn;
static unsigned int addr_size;           /* XEN_DOMCTL_set_address_size */
static struct { unsigned cmd; uint64_t mfn; } pins[8];
static unsigned int n_pins;
static struct { uint64_t pfn, n; char why[16]; } cleared[16];
static unsigned int n_cleared;
static uint8_t *gnttab_page;
static unsigned int n_pop2m, n_pop4k;

static uint64_t p2m(uint64_t pfn)
{
    for ( unsigned i = n_moved; i-- > 0; )
        if ( moved[i].pfn == pfn )
            return moved[i].mfn;
    switch ( opt.p2m_mode )
    {
    case P2M_ID:  return pfn;
    case P2M_OFF: return pfn + opt.p2m_arg;
    case P2M_REV: return opt.p2m_arg + ram_pfns - 1 - pfn;
    default:      return opt.p2m_tab[pfn];
    }
}

static int cmp_m2p(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (x[0] > y[0]) - (x[0] < y[0]);
}

static uint64_t m2p(uint64_t mfn)
{
    if ( mfn == ~0ULL )                  /* a hole is no page, even where the table has one */
        return ~0ULL;
    for ( unsigned i = n_moved; i-- > 0; )
        if ( moved[i].mfn == mfn )
            return moved[i].pfn;
    switch ( opt.p2m_mode )
    {
    case P2M_ID:  return mfn;
    case P2M_OFF: return mfn - opt.p2m_arg;
    case P2M_REV: return opt.p2m_arg + ram_pfns - 1 - mfn;
    }
    if ( !m2p_sorted )
    {
        m2p_sorted = malloc(ram_pfns * sizeof(*m2p_sorted));
        for ( uint64_t i = 0; i < ram_pfns; i++ )
            m2p_sorted[i].mfn = opt.p2m_tab[i], m2p_sorted[i].pfn = i;
        qsort(m2p_sorted, ram_pfns, sizeof(*m2p_sorted), cmp_m2p);
    }
    uint64_t lo = 0, hi = ram_pfns;
    while ( lo < hi )
    {
        uint64_t mid = (lo + hi) / 2;
        if ( m2p_sorted[mid].mfn < mfn ) lo = mid + 1; else hi = mid;
    }
    return lo < ram_pfns && m2p_sorted[lo].mfn == mfn ? m2p_sorted[lo].pfn : ~0ULL;
}

/* ------------------------------- logging -------------------------------- */

static char **loglines; static unsigned int n_log;

static struct step { uint64_t pfn, pages, va; char name[24]; } steps[64];
static unsigned int n_steps;
static uint64_t seen_pfn, seen_va; static bool seen_any;

static int on_alloc(struct xc_dom_image *d)     /* dom->allocate */
{
    if ( n_steps < 64 && (d->pfn_alloc_end != seen_pfn) )
    {
        struct step *s = &steps[n_steps++];
        s->pfn = seen_any ? seen_pfn : 0;
        s->pages = d->pfn_alloc_end - s->pfn;
        s->va = d->virt_alloc_end - s->pages * 4096;
        strcpy(s->name, "(pad)");
    }
    seen_any = true;
    seen_pfn = d->pfn_alloc_end; seen_va = d->virt_alloc_end;
    return 0;
}

static void on_log(struct xentoollog_logger *l, xentoollog_level level, int err,
                   const char *ctx, const char *fmt, va_list al)
{
    char buf[1024], line[1200];
    (void)l;
    vsnprintf(buf, sizeof(buf), fmt, al);
    size_t n = strlen(buf);
    while ( n && buf[n - 1] == '\n' ) buf[--n] = 0;
    snprintf(line, sizeof(line), "%s: %s: %s%s%s", xtl_level_to_string(level),
             ctx ? ctx : "-", buf, err >= 0 ? ": " : "", err >= 0 ? strerror(err) : "");
    if ( level >= XTL_WARN || !opt.bench )
    {
        loglines = realloc(loglines, (n_log + 1) * sizeof(*loglines));
        loglines[n_log++] = strdup(line);
    }
    if ( level >= XTL_ERROR && !opt.quiet )
        fprintf(stderr, "%s\n", line);
    if ( n_steps && (!strncmp(buf, "xc_dom_alloc_segment", 20) ||
                     !strncmp(buf, "xc_dom_alloc_page", 17)) )
    {
        char *c = strchr(buf, ':'), *e;
        if ( c )
        {
            for ( c++; *c == ' '; c++ );
            if ( (e = strstr(c, " : ")) )
            {
                while ( e > c && e[-1] == ' ' ) e--;
                snprintf(steps[n_steps - 1].name, 24, "%.*s", (int)(e - c), c);
            }
        }
    }
}

static void no_progress(struct xentoollog_logger *l, const char *c, const char *d,
                        int p, unsigned long x, unsigned long y)
{ (void)l; (void)c; (void)d; (void)p; (void)x; (void)y; }
static void no_destroy(struct xentoollog_logger *l) { (void)l; }
static struct xentoollog_logger logger = { on_log, no_progress, no_destroy };

/* ------------------------- privileged entry points ---------------------- */

static void *map_pfns(uint64_t pfn, uint64_t n, int prot)
{
    if ( pfn >= ram_pfns || n > ram_pfns - pfn )
        return errno = EINVAL, NULL;
    void *p = mmap(NULL, n << 12, prot | PROT_READ, MAP_SHARED, ram_fd, pfn << 12);
    return p == MAP_FAILED ? NULL : p;
}

int xc_version(xc_interface *x, int cmd, void *arg)
{
    (void)x;
    switch ( cmd )
    {
    case XENVER_version: return opt.xen_ver;
    case XENVER_capabilities:
        snprintf(arg, sizeof(xen_capabilities_info_t), "%s", opt.caps);
        return 0;
    }
    return errno = ENOSYS, -1;
}

int xc_domain_populate_physmap(xc_interface *x, uint32_t d, unsigned long nr,
                               unsigned int order, unsigned int fl, xen_pfn_t *ext)
{
    (void)x; (void)d; (void)fl;
    for ( unsigned long i = 0; i < nr; i++ )
    {
        uint64_t base = p2m(ext[i]);
        if ( opt.p2m_mode == P2M_REV && order )
            return i;
        if ( opt.p2m_mode == P2M_TABLE && order )
        {
            if ( base & ((1UL << order) - 1) )
                return i;
            for ( unsigned k = 1; k < (1u << order); k++ )
                if ( p2m(ext[i] + k) != base + k )
                    return i;
        }
        ext[i] = base;
        if ( order ) n_pop2m++; else n_pop4k++;
    }
    return nr;
}

int xc_domain_populate_physmap_exact(xc_interface *x, uint32_t d, unsigned long nr,
                                     unsigned int order, unsigned int fl, xen_pfn_t *ext)
{
    return xc_domain_populate_physmap(x, d, nr, order, fl, ext) == (long)nr ? 0 : -1;
}

int xc_domain_claim_pages(xc_interface *x, uint32_t d, unsigned long n)
{ (void)x; (void)d; (void)n; return 0; }

int xc_domain_cacheflush(xc_interface *x, uint32_t d, xen_pfn_t s, xen_pfn_t n)
{ (void)x; (void)d; (void)s; (void)n; return 0; }

int xc_clear_domain_pages(xc_interface *x, uint32_t d, unsigned long mfn, int num)
{
    (void)x; (void)d;
    uint64_t pfn = m2p(mfn);
    if ( n_cleared < 16 )
        cleared[n_cleared].pfn = pfn, cleared[n_cleared].n = num,
        strcpy(cleared[n_cleared++].why, "clear");
    if ( opt.anon )
        return 0;
    void *p = map_pfns(pfn, num, PROT_WRITE);
    if ( !p ) return -1;
    memset(p, 0, (size_t)num << 12);
    munmap(p, (size_t)num << 12);
    return 0;
}

void *xc_map_foreign_range(xc_interface *x, uint32_t d, int size, int prot, unsigned long mfn)
{
    (void)x; (void)d;
    if ( mfn == opt.shinfo_mfn )
    {
        void *p = mmap(NULL, size, prot | PROT_READ, MAP_SHARED, shinfo_fd, 0);
        return p == MAP_FAILED ? NULL : p;
    }
    return map_pfns(m2p(mfn), (size + 4095) >> 12, prot);
}

void *xc_map_foreign_ranges(xc_interface *x, uint32_t d, size_t size, int prot,
                            size_t chunk, privcmd_mmap_entry_t e[], int n)
{
    (void)x; (void)d;
    if ( n <= 0 || chunk != 4096 || size != (size_t)n << 12 )
        return errno = EINVAL, NULL;
    uint64_t first = m2p(e[0].mfn);
    for ( int i = 1; i < n; i++ )
        if ( m2p(e[i].mfn) != first + i )
            return errno = EFAULT, NULL;
    return map_pfns(first, n, prot);
}

#if XEN_RELEASE < 418
int xc_domain_getinfo(xc_interface *x, uint32_t first, unsigned int max, xc_dominfo_t *i)
{
    (void)x; (void)max;
    memset(i, 0, sizeof(*i));
    i->domid = first;
    i->shared_info_frame = opt.shinfo_mfn;
    return 1;
}
#else
int xc_domain_getinfo_single(xc_interface *x, uint32_t domid, xc_domaininfo_t *i)
{
    (void)x;
    memset(i, 0, sizeof(*i));
    i->domain = domid;
    i->shared_info_frame = opt.shinfo_mfn;
    return 0;
}
#endif

int xc_mmuext_op(xc_interface *x, struct mmuext_op *op, unsigned int n, uint32_t d)
{
    (void)x; (void)d;
    for ( unsigned i = 0; i < n && n_pins < 8; i++ )
        pins[n_pins].cmd = op[i].cmd, pins[n_pins++].mfn = op[i].arg1.mfn;
    return 0;
}

int xc_vcpu_setcontext(xc_interface *x, uint32_t d, uint32_t v, vcpu_guest_context_any_t *c)
{
    (void)x; (void)d; (void)v;
    vctx = *c; have_vctx = true;
    return 0;
}

struct xc_mmu *xc_alloc_mmu_updates(xc_interface *x, unsigned int subject)
{ (void)x; (void)subject; return calloc(1, 65536); }
int xc_add_mmu_update(xc_interface *x, struct xc_mmu *m, unsigned long long p, unsigned long long v)
{ (void)x; (void)m; (void)p; (void)v; return 0; }
int xc_flush_mmu_updates(xc_interface *x, struct xc_mmu *m) { (void)x; (void)m; return 0; }

unsigned long xc_make_page_below_4G(xc_interface *x, uint32_t d, unsigned long mfn)
{
    (void)x; (void)d;
    if ( n_moved == 16 ) return 0;
    moved[n_moved].pfn = m2p(mfn);
    moved[n_moved].mfn = low_next++;
    return moved[n_moved++].mfn;
}

int xc__hypercall_bounce_pre(xc_interface *x, xc_hypercall_buffer_t *b)
{
    (void)x;
    if ( b->param_shadow ) b = b->param_shadow;
    b->hbuf = b->ubuf;
    return 0;
}
void xc__hypercall_bounce_post(xc_interface *x, xc_hypercall_buffer_t *b)
{
    (void)x;
    if ( b->param_shadow ) b = b->param_shadow;
    b->hbuf = NULL;
}

static int domctl(struct xen_domctl *c)
{
    switch ( c->cmd )
    {
    case XEN_DOMCTL_set_address_size:
        addr_size = c->u.address_size.size;
        return 0;
    case XEN_DOMCTL_hypercall_init:
        hcall_mfn = c->u.hypercall_init.gmfn;
        hcall_pfn = m2p(hcall_mfn);
        if ( hcall_pfn >= ram_pfns )
            return hcall_pfn = ~0ULL, errno = EINVAL, -1;
        return 0;
    }
    fprintf(stderr, "oracle: unexpected domctl %u\n", c->cmd);
    return errno = ENOSYS, -1;
}

int xc_domctl(xc_interface *x, struct xen_domctl *c) { (void)x; return domctl(c); }

int xencall1(xencall_handle *h, unsigned int op, uint64_t a1)
{
    (void)h;
    if ( op == __HYPERVISOR_domctl )
        return domctl((void *)(uintptr_t)a1);
    fprintf(stderr, "oracle: unexpected hypercall %u\n", op);
    return errno = ENOSYS, -1;
}

xenforeignmemory_resource_handle *xenforeignmemory_map_resource(
    xenforeignmemory_handle *f, domid_t d, unsigned int type, unsigned int id,
    unsigned long frame, unsigned long n, void **addr, int prot, int flags)
{
    (void)f; (void)d; (void)type; (void)id; (void)frame; (void)n; (void)prot; (void)flags;
    if ( !gnttab_page ) gnttab_page = calloc(1, 4096);
    *addr = gnttab_page;
    return (void *)gnttab_page;
}
int xenforeignmemory_unmap_resource(xenforeignmemory_handle *f,
                                    xenforeignmemory_resource_handle *r)
{ (void)f; (void)r; return 0; }

/* ------------------------- decompressor stop-watch ---------------------- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}
static double t_unzip; static const char *unzip_used[8]; static unsigned n_unzip;

static void *next(const char *s, double *t0)
{
    unsigned i;
    for ( i = 0; i < n_unzip && strcmp(unzip_used[i], s); i++ );
    if ( i == n_unzip && n_unzip < 8 ) unzip_used[n_unzip++] = s;
    void *f = dlsym(RTLD_NEXT, s);
    if ( !f ) { fprintf(stderr, "oracle: no %s\n", s); abort(); }
    *t0 = now();
    return f;
}
int lzma_code(void *s, int a)
{
    double t0; int (*f)(void *, int) = next("lzma_code", &t0);
    int r = f(s, a); t_unzip += now() - t0; return r;
}
int inflate(void *s, int a)
{
    double t0; int (*f)(void *, int) = next("inflate", &t0);
    int r = f(s, a); t_unzip += now() - t0; return r;
}
size_t ZSTD_decompress(void *d, size_t dn, const void *s, size_t sn)
{
    double t0; size_t (*f)(void *, size_t, const void *, size_t) = next("ZSTD_decompress", &t0);
    size_t r = f(d, dn, s, sn); t_unzip += now() - t0; return r;
}

/* ------------------------------- the dump ------------------------------- */

static FILE *js;
static const char *stage = "start"; static const char *failed;
static struct { const char *name; double s; } times[16]; static unsigned n_times;

static void jstr(const char *s)
{
    fputc('"', js);
    for ( ; s && *s; s++ )
        if ( *s == '"' || *s == '\\' ) fprintf(js, "\\%c", *s);
        else if ( (unsigned char)*s < 0x20 || (unsigned char)*s > 0x7e )
            fprintf(js, "\\u%04x", (unsigned char)*s);
        else fputc(*s, js);
    fputc('"', js);
}
#define HEX(name, v) fprintf(js, "\"%s\": \"0x%" PRIx64 "\"", name, (uint64_t)(v))

static void jseg(const char *name, const struct xc_dom_seg *s)
{
    fprintf(js, "    \"%s\": {\"vstart\": \"0x%" PRIx64 "\", \"vend\": \"0x%" PRIx64
            "\", \"pfn\": %" PRIu64 ", \"pages\": %" PRIu64 "}", name,
            s->vstart, s->vend, (uint64_t)s->pfn, (uint64_t)s->pages);
}

static void jbytes(const void *p, size_t n)
{
    const uint8_t *b = p;
    fputc('"', js);
    for ( size_t i = 0; i < n; i++ ) fprintf(js, "%02x", b[i]);
    fputc('"', js);
}

static void save(const char *name, const void *p, size_t n)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", opt.out, name);
    FILE *f = fopen(path, "wb");
    if ( !f || fwrite(p, 1, n, f) != n || fclose(f) ) { perror(path); exit(2); }
}

static void read_pfn(uint64_t pfn, void *buf)
{
    if ( pread(ram_fd, buf, 4096, pfn << 12) != 4096 )
        memset(buf, 0, 4096);
}

static struct { uint64_t first, count; } phys[64]; static unsigned n_phys;

static void note_phys(void)             /* which blocks the builder touched */
{
    for ( struct xc_dom_phys *p = dom->phys_pages; p; p = p->next )
    {
        unsigned i;
        for ( i = 0; i < n_phys && phys[i].first != p->first; i++ );
        if ( i == n_phys && n_phys < 64 )
            phys[n_phys].first = p->first, phys[n_phys++].count = p->count;
    }
}

/* Which bytes of memory.img are not holes: a reader of a 64 GiB guest need not look at the others. */
static void jextents(void)
{
    off_t end = ram_pfns << 12, from = 0, to;
    int c = 0;

    fprintf(js, ",\n  \"extents\": [");
    while ( from < end && (from = lseek(ram_fd, from, SEEK_DATA)) >= 0 )
    {
        to = lseek(ram_fd, from, SEEK_HOLE);
        if ( to < 0 ) to = end;
        fprintf(js, "%s[%" PRIu64 ", %" PRIu64 "]", c++ ? ", " : "", (uint64_t)from, (uint64_t)to);
        from = to;
    }
    fputs("]", js);
}

static void dump(void)
{
    struct k_parms *k = dom ? (void *)dom->parms : NULL;
    struct k_x86 *a = dom ? dom->arch_private : NULL;
    static const char *const pae[] = { "no", "yes", "extended-cr3", "bimodal" };
    char path[4096];

    snprintf(path, sizeof(path), "%s/layout.json", opt.out);
    if ( !(js = fopen(path, "w")) ) { perror(path); exit(2); }

    fprintf(js, "{\n  \"input\": {\"kernel\": "); jstr(opt.kernel);
    fprintf(js, ", \"ramdisk\": [");
    for ( int i = 0; i < opt.n_ramdisk; i++ ) { if ( i ) fputs(", ", js); jstr(opt.ramdisk[i]); }
    fprintf(js, "], \"cmdline\": "); if ( opt.cmdline ) jstr(opt.cmdline); else fputs("null", js);
    fprintf(js, ", \"features\": "); if ( opt.features ) jstr(opt.features); else fputs("null", js);
    fprintf(js, ", \"memory_mib\": %u, \"p2m\": ", opt.mem_mb); jstr(opt.p2m);
    fprintf(js, ", \"xen_caps\": "); jstr(opt.caps);
    fprintf(js, ", \"flags\": %lu, \"store_evtchn\": %u, \"console_evtchn\": %u, "
            "\"store_domid\": %u, \"console_domid\": %u, ",
            opt.flags, opt.store_port, opt.con_port, opt.store_dom, opt.con_dom);
    HEX("shared_info_mfn", opt.shinfo_mfn);
    if ( opt.n_vm )
    {
        fprintf(js, ", \"vmem\": [");
        for ( unsigned i = 0; i < opt.n_vm; i++ )
            fprintf(js, "%s[%" PRIu64 ", %" PRIu64 "]", i ? ", " : "", opt.vm[i].start >> 12, opt.vm[i].end >> 12);
        fputs("]", js);
    }
    fprintf(js, ", \"backend\": \"%s\"},\n", opt.anon ? "anon(domid 0)" : "mapped(domid 1)");

    fprintf(js, "  \"result\": "); jstr(failed ? "error" : "ok");
    if ( failed ) { fprintf(js, ",\n  \"failed_stage\": "); jstr(failed); }

    if ( k )
    {
        fprintf(js, ",\n  \"guest_type\": "); jstr(dom->guest_type ? dom->guest_type : "");
        fprintf(js, ",\n  \"parms\": {\n    ");
        fprintf(js, "\"guest_os\": "); jstr(k->guest_os);
        fprintf(js, ", \"guest_ver\": "); jstr(k->guest_ver);
        fprintf(js, ", \"xen_ver\": "); jstr(k->xen_ver);
        fprintf(js, ", \"loader\": "); jstr(k->loader);
        fprintf(js, ",\n    \"source\": \"%s\"", k->guest_info ? "__xen_guest" : "notes");
        fprintf(js, ", \"pae\": \"%s\", \"bsd_symtab\": %s, \"unmapped_initrd\": %s,\n    ",
                (unsigned)k->pae < 4 ? pae[k->pae] : "?",
                k->bsd_symtab ? "true" : "false", k->unmapped_initrd ? "true" : "false");
        HEX("virt_base", k->virt_base); fputs(", ", js);
        HEX("virt_entry", k->virt_entry); fputs(", ", js);
        HEX("virt_hypercall", k->virt_hypercall); fputs(", ", js);
        HEX("virt_hv_start_low", k->virt_hv_start_low); fputs(",\n    ", js);
        HEX("p2m_base", k->p2m_base); fputs(", ", js);
        HEX("elf_paddr_offset", k->elf_paddr_offset); fputs(", ", js);
        HEX("f_supported", k->f_supported[0]); fputs(", ", js);
        HEX("f_required", k->f_required[0]); fputs(", ", js);
        HEX("f_active", dom->f_active[0]); fputs(",\n    ", js);
        HEX("phys_entry", k->phys_entry); fputs(", ", js);
        HEX("virt_kstart", k->virt_kstart); fputs(", ", js);
        HEX("virt_kend", k->virt_kend);
        fprintf(js, "\n  },\n  \"notes\": {");
        for ( int i = 0, c = 0; i <= XEN_ELFNOTE_MAX; i++ )
            if ( k->notes[i].name )
            {
                fprintf(js, "%s\n    \"%s\": ", c++ ? "," : "", k->notes[i].name);
                if ( k->notes[i].kind == 2 ) jstr(k->notes[i].v.s);
                else fprintf(js, "\"0x%" PRIx64 "\"", k->notes[i].v.n);
            }
        fprintf(js, "\n  }");
    }
    if ( dom && dom->arch_hooks )
    {
        fprintf(js, ",\n  \"total_pages\": %" PRIu64 ", \"p2m_size\": %" PRIu64
                ", \"sizeof_pfn\": %d", (uint64_t)dom->total_pages,
                (uint64_t)dom->p2m_size, dom->arch_hooks->sizeof_pfn);
        fprintf(js, ",\n  \"segments\": {\n"); jseg("kernel", &dom->kernel_seg);
        for ( unsigned i = 0; i < dom->num_modules; i++ )
        {
            char nm[16]; snprintf(nm, sizeof(nm), "module%u", i);
            fputs(",\n", js); jseg(nm, &dom->modules[i].seg);
        }
        fputs(",\n", js); jseg("p2m", &dom->p2m_seg);
        fputs(",\n", js); jseg("pgtables", &dom->pgtables_seg);
        fprintf(js, "\n  },\n  \"alloc_order\": [");
        for ( unsigned i = 0; i < n_steps; i++ )
        {
            fprintf(js, "%s\n    {\"name\": ", i ? "," : ""); jstr(steps[i].name);
            fprintf(js, ", \"pfn\": %" PRIu64 ", \"pages\": %" PRIu64 ", ",
                    steps[i].pfn, steps[i].pages); HEX("va", steps[i].va); fputc('}', js);
        }
        fprintf(js, "\n  ],\n  ");
        HEX("virt_alloc_end", dom->virt_alloc_end); fputs(", ", js);
        HEX("virt_pgtab_end", dom->virt_pgtab_end);
        fprintf(js, ", \"pfn_alloc_end\": %" PRIu64 ",\n  \"start_info_pfn\": %" PRIu64
                ", \"xenstore_pfn\": %" PRIu64 ", \"console_pfn\": %" PRIu64
                ", \"bootstack_pfn\": %" PRIu64 ",\n  ",
                (uint64_t)dom->pfn_alloc_end, (uint64_t)dom->start_info_pfn,
                (uint64_t)dom->xenstore_pfn, (uint64_t)dom->console_pfn,
                (uint64_t)dom->bootstack_pfn);
        HEX("initrd_start", dom->initrd_start); fputs(", ", js);
        HEX("initrd_len", dom->initrd_len); fputs(", ", js);
        HEX("flags", dom->flags);

        if ( a )
        {
            int levels = dom->arch_hooks->sizeof_pfn == 4 ? 3 : 4;
            fprintf(js, ",\n  \"mappings\": [");
            for ( unsigned m = 0; m < a->n; m++ )
            {
                struct k_map *q = &a->map[m];
                fprintf(js, "%s\n    {\"area\": {", m ? "," : "");
                HEX("from", q->area.from); fputs(", ", js); HEX("to", q->area.to);
                fprintf(js, ", \"pfn\": %" PRIu64 ", \"tables\": %u}, \"levels\": [",
                        q->area.pfn, q->area.tables);
                for ( int l = levels - 1; l >= 0; l-- )
                {
                    fprintf(js, "%s\n      {\"level\": %d, ", l == levels - 1 ? "" : ",", l + 1);
                    HEX("from", q->lvl[l].from); fputs(", ", js); HEX("to", q->lvl[l].to);
                    fprintf(js, ", \"first_pfn\": %" PRIu64 ", \"tables\": %u}",
                            q->lvl[l].pfn, q->lvl[l].tables);
                }
                fprintf(js, "]}");
            }
            fprintf(js, "\n  ]");
        }
        fprintf(js, ",\n  \"written_blocks\": [");
        for ( unsigned i = 0; i < n_phys; i++ )
            fprintf(js, "%s[%" PRIu64 ", %" PRIu64 "]", i ? ", " : "", phys[i].first, phys[i].count);
        for ( unsigned i = 0; i < n_cleared; i++ )
            fprintf(js, "%s[%" PRIu64 ", %" PRIu64 "]", i || n_phys ? ", " : "", cleared[i].pfn, cleared[i].n);
        fprintf(js, "]");
    }
    if ( addr_size ) fprintf(js, ",\n  \"address_size\": %u", addr_size);
    if ( hcall_pfn != ~0ULL )
        fprintf(js, ",\n  \"hypercall_page\": {\"pfn\": %" PRIu64 ", \"mfn\": %" PRIu64
                ", \"filled\": %s}", hcall_pfn, hcall_mfn, opt.hcpage ? "true" : "false");
    if ( n_pins )
    {
        fprintf(js, ",\n  \"pins\": [");
        for ( unsigned i = 0; i < n_pins; i++ )
            fprintf(js, "%s{\"cmd\": %u, \"mfn\": %" PRIu64 "}", i ? ", " : "", pins[i].cmd, pins[i].mfn);
        fputs("]", js);
    }
    if ( n_moved )
        fprintf(js, ",\n  \"l3_moved_below_4g\": {\"pfn\": %" PRIu64 ", \"mfn\": %" PRIu64 "}",
                moved[n_moved - 1].pfn, moved[n_moved - 1].mfn);

    if ( have_vctx )
    {
        bool w64 = dom->arch_hooks->sizeof_pfn == 8;
        fprintf(js, ",\n  \"vcpu\": {");
#define R(c, f) HEX(#f, c->user_regs.f), fputs(", ", js)
        if ( w64 )
        {
            vcpu_guest_context_x86_64_t *c = &vctx.x64;
            R(c, rip); R(c, rsp); R(c, rsi); R(c, rdi); R(c, rax); R(c, rbx); R(c, rcx);
            R(c, rdx); R(c, rbp); R(c, r8); R(c, r9); R(c, r10); R(c, r11); R(c, r12);
            R(c, r13); R(c, r14); R(c, r15); R(c, rflags);
            R(c, cs); R(c, ss); R(c, ds); R(c, es); R(c, fs); R(c, gs);
            HEX("flags", c->flags); fputs(", ", js); HEX("kernel_ss", c->kernel_ss); fputs(", ", js);
            HEX("kernel_sp", c->kernel_sp); fputs(", ", js); HEX("vm_assist", c->vm_assist);
            fputs(", \"ctrlreg\": [", js);
            for ( int i = 0; i < 8; i++ ) fprintf(js, "%s\"0x%" PRIx64 "\"", i ? ", " : "", (uint64_t)c->ctrlreg[i]);
            fputs("], \"debugreg\": [", js);
            for ( int i = 0; i < 8; i++ ) fprintf(js, "%s\"0x%" PRIx64 "\"", i ? ", " : "", (uint64_t)c->debugreg[i]);
            fputs("]}", js);
            save("vcpu.bin", c, sizeof(*c));
        }
        else
        {
            vcpu_guest_context_x86_32_t *c = &vctx.x32;
            R(c, eip); R(c, esp); R(c, esi); R(c, edi); R(c, eax); R(c, ebx); R(c, ecx);
            R(c, edx); R(c, ebp); R(c, eflags);
            R(c, cs); R(c, ss); R(c, ds); R(c, es); R(c, fs); R(c, gs);
            HEX("flags", c->flags); fputs(", ", js); HEX("kernel_ss", c->kernel_ss); fputs(", ", js);
            HEX("kernel_sp", c->kernel_sp); fputs(", ", js); HEX("vm_assist", c->vm_assist);
            fputs(", \"ctrlreg\": [", js);
            for ( int i = 0; i < 8; i++ ) fprintf(js, "%s\"0x%" PRIx64 "\"", i ? ", " : "", (uint64_t)c->ctrlreg[i]);
            fputs("], \"debugreg\": [", js);
            for ( int i = 0; i < 8; i++ ) fprintf(js, "%s\"0x%" PRIx64 "\"", i ? ", " : "", (uint64_t)c->debugreg[i]);
            fputs("]}", js);
            save("vcpu.bin", c, sizeof(*c));
        }

        uint8_t pg[4096];
        read_pfn(dom->start_info_pfn, pg);
        save("start_info.bin", pg, 4096);
        fprintf(js, ",\n  \"start_info\": {");
#define S(f) HEX(#f, s->f), fputs(", ", js)
        if ( w64 )
        {
            start_info_x86_64_t *s = (void *)pg;
            fprintf(js, "\"magic\": "); jstr(s->magic); fputs(", ", js);
            S(nr_pages); S(shared_info); S(flags); S(store_mfn); S(store_evtchn);
            S(console.domU.mfn); S(console.domU.evtchn); S(pt_base); S(nr_pt_frames);
            S(mfn_list); S(mod_start); S(mod_len); S(first_p2m_pfn); S(nr_p2m_frames);
            fprintf(js, "\"cmd_line\": "); jstr((char *)s->cmd_line);
            fprintf(js, ", \"size\": %zu, \"bytes\": ", sizeof(*s)); jbytes(s, sizeof(*s));
        }
        else
        {
            start_info_x86_32_t *s = (void *)pg;
            fprintf(js, "\"magic\": "); jstr(s->magic); fputs(", ", js);
            S(nr_pages); S(shared_info); S(flags); S(store_mfn); S(store_evtchn);
            S(console.domU.mfn); S(console.domU.evtchn); S(pt_base); S(nr_pt_frames);
            S(mfn_list); S(mod_start); S(mod_len); S(first_p2m_pfn); S(nr_p2m_frames);
            fprintf(js, "\"cmd_line\": "); jstr((char *)s->cmd_line);
            fprintf(js, ", \"size\": %zu, \"bytes\": ", sizeof(*s)); jbytes(s, sizeof(*s));
        }
        fputs("}", js);
        if ( pread(shinfo_fd, pg, 4096, 0) == 4096 )
        {
            save("shared_info.bin", pg, 4096);
            fprintf(js, ",\n  \"shared_info_nonzero\": [");
            for ( int i = 0, c = 0; i < 4096; i++ )
                if ( pg[i] ) fprintf(js, "%s[%d, %d]", c++ ? ", " : "", i, pg[i]);
            fputs("]", js);
        }
    }
    if ( gnttab_page )
    {
        grant_entry_v1_t *g = (void *)gnttab_page;
        fprintf(js, ",\n  \"grants\": [");
        for ( int i = 0, c = 0; i < 512; i++ )
            if ( g[i].flags )
                fprintf(js, "%s{\"ref\": %d, \"flags\": %u, \"domid\": %u, \"frame\": %u}",
                        c++ ? ", " : "", i, g[i].flags, g[i].domid, g[i].frame);
        fputs("]", js);
    }
    fprintf(js, ",\n  \"populate\": {\"order9\": %u, \"order0\": %u}", n_pop2m, n_pop4k);
    jextents();
    fprintf(js, ",\n  \"log\": [");
    for ( unsigned i = 0; i < n_log; i++ )
    {
        fprintf(js, "%s\n    ", i ? "," : ""); jstr(loglines[i]);
    }
    fprintf(js, "\n  ]\n}\n");
    if ( fclose(js) ) { perror(path); exit(2); }

    if ( opt.p2m_mode == P2M_TABLE )
        save("p2m.bin", opt.p2m_tab, ram_pfns * 8);
}

/* ------------------------------- main ----------------------------------- */

static void usage(void)
{
    fputs("oracle KERNEL [options] (-o OUTDIR | --bench)\n"
          "  --ramdisk F (twice at most)  --ramdisk-va ADDR  --cmdline S  --features S\n"
          "  --memory MiB  --vmem A-B[,C-D..] (MiB; pfn holes)  --caps S  --xen-version N\n"
          "  --p2m identity|offset:N|reverse[:BASE]|shuffle:SEED|FILE (u64 LE array)\n"
          "  --flags N --store-evtchn N --console-evtchn N --store-domid N --console-domid N\n"
          "  --shared-info-mfn N  --max-kernel N  --max-ramdisk N\n"
          "  --anon    (guest_domid 0: libxenguest's own anonymous memory, hooks called by hand)\n"
          "  --fill-hypercall-page  (do the hypervisor's part in memory.img)\n"
          "  --bench   (no output; one line of JSON timings)  -q\n", stderr);
    exit(2);
}

static int fail(const char *what) { failed = what; return -1; }

#define TIMED(nm, expr) do { \
    stage = nm; double t0_ = now(); int r_ = (expr); \
    times[n_times].name = nm; times[n_times++].s = now() - t0_; \
    if ( r_ ) return fail(nm); } while ( 0 )

static int set_vmem(void)
{
    if ( opt.n_vm )
    {
        static unsigned int node0[1] = { XC_NUMA_NO_NODE };
        dom->vmemranges = opt.vm; dom->nr_vmemranges = opt.n_vm;
        dom->vnode_to_pnode = node0; dom->nr_vnodes = 1;
    }
    return 0;
}

static int parse_image(void)
{
    if ( xc_dom_parse_image(dom) ) return -1;
    struct k_parms *k = (void *)dom->parms;      /* is the mirror truthful? */
#if XEN_RELEASE >= 415
    assert(k->virt_base == xc_dom_virt_base(dom));
    assert(k->virt_entry == xc_dom_virt_entry(dom));
    assert(k->virt_hypercall == xc_dom_virt_hypercall(dom));
    assert(k->guest_os == xc_dom_guest_os(dom));
    for ( unsigned i = 0; i < 32; i++ )
        assert(xc_dom_feature_get(dom, i) == !!(k->f_supported[0] & (1u << i)));
#endif
    assert(k->virt_kstart == dom->kernel_seg.vstart && k->virt_kend == dom->kernel_seg.vend);
    return 0;
}

/* guest_domid 0: what xc_dom_boot_image does, without its unmapping */
static int boot_anon(void)
{
    if ( dom->arch_hooks->bootearly(dom) ) return -1;
    dom->shared_info_mfn = opt.shinfo_mfn;
    if ( dom->arch_hooks->setup_pgtables(dom) ) return -1;
    if ( dom->arch_hooks->start_info(dom) ) return -1;
    struct k_parms *k = (void *)dom->parms;
    if ( k->virt_hypercall != ~0ULL )
        hcall_pfn = (k->virt_hypercall - k->virt_base) >> 12, hcall_mfn = p2m(hcall_pfn);
    void *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shinfo_fd, 0);
    dom->arch_hooks->shared_info(dom, s);
    munmap(s, 4096);
    return dom->arch_hooks->vcpu(dom);
}

static int hook_boot(void)
{
    note_phys();
    return xc_dom_boot_image(dom);
}

static int (*real_start_info)(struct xc_dom_image *);
static int start_info_noting(struct xc_dom_image *d)    /* last look before unmapping */
{
    int r = real_start_info(d);
    note_phys();
    return r;
}

static uint64_t rng(uint64_t *s)
{
    *s ^= *s >> 12; *s ^= *s << 25; *s ^= *s >> 27;
    return *s * 0x2545F4914F6CDD1DULL;
}

static void setup_p2m(void)
{
    uint64_t top = 0;
    if ( opt.n_vm )
        for ( unsigned i = 0; i < opt.n_vm; i++ )
            top = opt.vm[i].end >> 12 > top ? opt.vm[i].end >> 12 : top;
    else
        top = (uint64_t)opt.mem_mb << 8;
    ram_pfns = top;
    if ( !strcmp(opt.p2m, "identity") ) opt.p2m_mode = P2M_ID;
    else if ( !strncmp(opt.p2m, "offset:", 7) )
        opt.p2m_mode = P2M_OFF, opt.p2m_arg = strtoull(opt.p2m + 7, NULL, 0);
    else if ( !strncmp(opt.p2m, "reverse", 7) )
        opt.p2m_mode = P2M_REV, opt.p2m_arg = opt.p2m[7] == ':' ? strtoull(opt.p2m + 8, NULL, 0) : 0x1000;
    else
    {
        opt.p2m_mode = P2M_TABLE;
        opt.p2m_tab = malloc(top * 8);
        if ( !strncmp(opt.p2m, "shuffle:", 8) )
        {
            uint64_t s = strtoull(opt.p2m + 8, NULL, 0) * 2 + 1;
            for ( uint64_t i = 0; i < top; i++ ) opt.p2m_tab[i] = 0x800 + i;
            for ( uint64_t i = top - 1; i > 0; i-- )
            {
                uint64_t j = rng(&s) % (i + 1), t = opt.p2m_tab[i];
                opt.p2m_tab[i] = opt.p2m_tab[j]; opt.p2m_tab[j] = t;
            }
        }
        else
        {
            FILE *f = fopen(opt.p2m, "rb");
            if ( !f || fread(opt.p2m_tab, 8, top, f) != top )
            { fprintf(stderr, "oracle: p2m file %s: need %" PRIu64 " u64\n", opt.p2m, top); exit(2); }
            fclose(f);
        }
    }
    if ( !opt.shinfo_set )
    {
        uint64_t max = 0;
        if ( opt.p2m_mode == P2M_TABLE )
            for ( uint64_t i = 0; i < top; i++ ) max = opt.p2m_tab[i] > max ? opt.p2m_tab[i] : max;
        else
            max = opt.p2m_mode == P2M_ID ? top - 1 : opt.p2m_arg + top - 1;
        opt.shinfo_mfn = max + 1;
    }
}

static int build(void)
{
    stage = "allocate";
    dom = xc_dom_allocate(xch, opt.cmdline, opt.features);
    if ( !dom ) return fail(stage);
    dom->allocate = on_alloc;
    if ( opt.mk_set ) xc_dom_kernel_max_size(dom, opt.max_kernel);
    if ( opt.mm_set ) xc_dom_module_max_size(dom, opt.max_module);
    TIMED("kernel_file", xc_dom_kernel_file(dom, opt.kernel));
    for ( int i = 0; i < opt.n_ramdisk; i++ )
    {
        TIMED("module_file", xc_dom_module_file(dom, opt.ramdisk[i], NULL));
        dom->modules[i].seg.vstart = opt.ramdisk_va[i];
    }
    dom->flags |= opt.flags;
    dom->console_evtchn = opt.con_port; dom->xenstore_evtchn = opt.store_port;
    dom->console_domid = opt.con_dom;   dom->xenstore_domid = opt.store_dom;
    TIMED("boot_xen_init", xc_dom_boot_xen_init(dom, xch, opt.anon ? 0 : 1));
    TIMED("parse_image", parse_image());
    if ( opt.n_vm && set_vmem() ) return -1;
    TIMED("mem_init", xc_dom_mem_init(dom, opt.mem_mb));
    TIMED("boot_mem_init", xc_dom_boot_mem_init(dom));
    seen_pfn = 0; seen_any = true;
    TIMED("build_image", xc_dom_build_image(dom));
    if ( opt.anon )
        TIMED("boot_image", boot_anon());
    else
    {
        real_start_info = dom->arch_hooks->start_info;
        dom->arch_hooks->start_info = start_info_noting;
        TIMED("boot_image", hook_boot());
        dom->arch_hooks->start_info = real_start_info;
        TIMED("gnttab_init", xc_dom_gnttab_init(dom));
    }
    return 0;
}

static void fill_hypercall_page(void)
{
    uint8_t pg[4096];
    bool w64 = dom->arch_hooks->sizeof_pfn == 8;
    memset(pg, 0xcc, sizeof(pg));
    for ( uint32_t i = 0; i < 128; i++ )
    {
        uint8_t *p = pg + i * 32;
        bool iret = i == __HYPERVISOR_iret;
        if ( w64 ) { *p++ = 0x51; *p++ = 0x41; *p++ = 0x53; }
        if ( iret ) *p++ = 0x50;
        *p++ = 0xb8; memcpy(p, &i, 4); p += 4;
        if ( w64 ) { *p++ = 0x0f; *p++ = 0x05; } else { *p++ = 0xcd; *p++ = 0x82; }
        if ( iret ) continue;
        if ( w64 ) { *p++ = 0x41; *p++ = 0x5b; *p++ = 0x59; }
        *p++ = 0xc3;
    }
    if ( pwrite(ram_fd, pg, 4096, hcall_pfn << 12) != 4096 ) { perror("hypercall page"); exit(2); }
}

static int run(int argc, char **argv)
{
    static const struct option lo[] = {
        {"ramdisk", 1, 0, 'r'}, {"cmdline", 1, 0, 'c'}, {"features", 1, 0, 'f'},
        {"memory", 1, 0, 'm'}, {"p2m", 1, 0, 'p'}, {"flags", 1, 0, 1},
        {"store-evtchn", 1, 0, 2}, {"console-evtchn", 1, 0, 3}, {"store-domid", 1, 0, 4},
        {"console-domid", 1, 0, 5}, {"shared-info-mfn", 1, 0, 6}, {"caps", 1, 0, 7},
        {"xen-version", 1, 0, 8}, {"anon", 0, 0, 9}, {"bench", 0, 0, 10}, {"vmem", 1, 0, 11},
        {"ramdisk-va", 1, 0, 12}, {"fill-hypercall-page", 0, 0, 13}, {"max-kernel", 1, 0, 14},
        {"max-ramdisk", 1, 0, 15}, {"output", 1, 0, 'o'}, {"quiet", 0, 0, 'q'}, {0, 0, 0, 0} };
    int c;
    while ( (c = getopt_long(argc, argv, "o:q", lo, NULL)) != -1 )
        switch ( c )
        {
        case 'r': if ( opt.n_ramdisk == 2 ) usage(); opt.ramdisk[opt.n_ramdisk++] = optarg; break;
        case 12: if ( !opt.n_ramdisk ) usage();
                 opt.ramdisk_va[opt.n_ramdisk - 1] = strtoull(optarg, NULL, 0); break;
        case 'c': opt.cmdline = optarg; break;
        case 'f': opt.features = optarg; break;
        case 'm': opt.mem_mb = strtoul(optarg, NULL, 0); break;
        case 'p': opt.p2m = optarg; break;
        case 1: opt.flags = strtoul(optarg, NULL, 0); break;
        case 2: opt.store_port = strtoul(optarg, NULL, 0); break;
        case 3: opt.con_port = strtoul(optarg, NULL, 0); break;
        case 4: opt.store_dom = strtoul(optarg, NULL, 0); break;
        case 5: opt.con_dom = strtoul(optarg, NULL, 0); break;
        case 6: opt.shinfo_mfn = strtoull(optarg, NULL, 0); opt.shinfo_set = true; break;
        case 7: opt.caps = optarg; break;
        case 8: opt.xen_ver = strtoul(optarg, NULL, 0); break;
        case 9: opt.anon = true; break;
        case 10: opt.bench = true; break;
        case 11:
        {
            uint64_t tot = 0;
            for ( char *p = optarg; *p && opt.n_vm < 8; )
            {
                xen_vmemrange_t *v = &opt.vm[opt.n_vm++];
                v->start = strtoull(p, &p, 0) << 20;
                if ( *p++ != '-' ) usage();
                v->end = strtoull(p, &p, 0) << 20;
                v->nid = 0; v->flags = 0; tot += v->end - v->start;
                if ( *p == ',' ) p++;
            }
            opt.mem_mb = tot >> 20;
            break;
        }
        case 13: opt.hcpage = true; break;
        case 14: opt.max_kernel = strtoull(optarg, NULL, 0); opt.mk_set = true; break;
        case 15: opt.max_module = strtoull(optarg, NULL, 0); opt.mm_set = true; break;
        case 'o': opt.out = optarg; break;
        case 'q': opt.quiet = true; break;
        default: usage();
        }
    if ( optind != argc - 1 || (!opt.out && !opt.bench) ) usage();
    opt.kernel = argv[optind];
    setup_p2m();

    if ( opt.bench || opt.anon ) ram_fd = memfd_create("ram", 0);
    if ( !opt.bench )
    {
        char path[4096];
        mkdir(opt.out, 0777);
        snprintf(path, sizeof(path), "%s/memory.img", opt.out);
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
        if ( fd < 0 ) { perror(path); return 2; }
        if ( ram_fd >= 0 ) close(ram_fd);
        ram_fd = fd;
    }
    shinfo_fd = memfd_create("shinfo", 0);
    if ( ram_fd < 0 || shinfo_fd < 0 || ftruncate(ram_fd, ram_pfns << 12) || ftruncate(shinfo_fd, 4096) )
    { perror("backing"); return 2; }

    xch = xc_interface_open(&logger, opt.bench ? NULL : &logger, XC_OPENFLAG_DUMMY);
    if ( !xch ) { perror("xc_interface_open"); return 2; }

    double t0 = now();
    int rc = build();
    double total = now() - t0;
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);

    if ( opt.bench )
    {
        printf("{\"rc\": %d, \"total_ms\": %.3f, \"unzip_ms\": %.3f, \"maxrss_kib\": %ld, "
               "\"utime_ms\": %.3f, \"stime_ms\": %.3f", rc, total * 1e3, t_unzip * 1e3, ru.ru_maxrss,
               ru.ru_utime.tv_sec * 1e3 + ru.ru_utime.tv_usec / 1e3,
               ru.ru_stime.tv_sec * 1e3 + ru.ru_stime.tv_usec / 1e3);
        for ( unsigned i = 0; i < n_times; i++ )
            printf(", \"%s_ms\": %.3f", times[i].name, times[i].s * 1e3);
        printf(", \"unzip_with\": \"%s\"}\n", n_unzip ? unzip_used[0] : "");
        if ( failed ) fprintf(stderr, "failed at %s\n", failed);
        return rc ? 1 : 0;
    }

    if ( opt.anon && dom )
    {
        note_phys();
        for ( struct xc_dom_phys *p = dom->phys_pages; p; p = p->next )
            for ( uint64_t o = 0; o < p->count << 12; )
            {
                uint64_t n = (p->count << 12) - o;
                if ( n > 1 << 24 ) n = 1 << 24;
                ssize_t w = pwrite(ram_fd, (char *)p->ptr + o, n, (p->first << 12) + o);
                if ( w <= 0 ) { perror("memory.img"); return 2; }
                o += w;
            }
    }
    if ( !rc && opt.hcpage && hcall_pfn != ~0ULL )
        fill_hypercall_page();
    dump();
    if ( failed && !opt.quiet ) fprintf(stderr, "oracle: failed at %s\n", failed);
    xc_interface_close(xch);
    return rc ? 1 : 0;
}

/*
 * One build for each request on stdin, each in a fork, which may crash: the number of arguments, a newline, and the
 * arguments, each with a zero byte. The answer is a line: how the fork ended. It saves loading the libraries.
 */
static int serve(char *self)
{
    char *line = NULL;
    size_t size = 0;
    while ( getline(&line, &size, stdin) > 0 )
    {
        int n = atoi(line), status = 0;
        char *args[64] = { self };
        if ( n < 1 || n > 62 ) return 2;
        for ( int i = 1; i <= n; i++ )
        {
            size_t room = 0;
            args[i] = NULL;
            if ( getdelim(&args[i], &room, 0, stdin) <= 0 ) return 2;
        }
        pid_t child = fork();
        if ( child < 0 ) { perror("fork"); return 2; }
        if ( child == 0 ) exit(run(n + 1, args));
        for ( int i = 1; i <= n; i++ ) free(args[i]);
        if ( waitpid(child, &status, 0) < 0 ) { perror("waitpid"); return 2; }
        if ( WIFSIGNALED(status) ) printf("signal %d\n", WTERMSIG(status));
        else printf("exit %d\n", WEXITSTATUS(status));
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    return argc == 2 && !strcmp(argv[1], "--serve") ? serve(argv[0]) : run(argc, argv);
}
