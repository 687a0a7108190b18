/*
 * acceptance - does libxenguest 4.17 take a kernel, and what does it read in it? Many kernels in one run.
 *
 * Source: the interfaces of Xen 4.17's xenguest.h and xenctrl.h (Debian's libxen-dev); what runs is the library itself.
 *
 * Reads lines "pv PATH" or "pvh PATH", writes one line of JSON for each: its parameters, or why it was refused.
 * Each kernel is parsed in a separate child, so that a crash is one kernel's outcome.
 *
 * Gotcha: struct k_parms mirrors a private structure of exactly 4.17, as in oracle.c.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <xenctrl.h>
#include <xenguest.h>
#include <xen/elfnote.h>
#include <xen/features.h>

struct k_note { int kind; const char *name; union { const char *s; uint64_t n; } v; };

struct k_parms {                        /* dom->parms */
    uintptr_t guest_info, note_start, note_end;
    struct k_note notes[XEN_ELFNOTE_MAX + 1];
    char guest_os[16], guest_ver[16], xen_ver[16], loader[16];
    int pae;
    bool bsd_symtab, unmapped_initrd;
    uint64_t virt_base, virt_entry, virt_hypercall, virt_hv_start_low,
             p2m_base, elf_paddr_offset;
    uint32_t f_supported[XENFEAT_NR_SUBMAPS], f_required[XENFEAT_NR_SUBMAPS];
    uint32_t phys_entry;
    uint64_t virt_kstart, virt_kend;
};

static char said[512];                  /* the last error the library logged */

struct quiet_logger { xentoollog_logger vtable; };

static void on_message(xentoollog_logger *l, xentoollog_level level, int err,
                       const char *context, const char *format, va_list al)
{
    (void)l; (void)err; (void)context;
    if ( level >= XTL_WARN )
        vsnprintf(said, sizeof(said), format, al);
}

static void on_progress(xentoollog_logger *l, const char *context, const char *what,
                        int percent, unsigned long done, unsigned long total)
{
    (void)l; (void)context; (void)what; (void)percent; (void)done; (void)total;
}

static void on_destroy(xentoollog_logger *l) { (void)l; }

static struct quiet_logger logger = { { on_message, on_progress, on_destroy } };

static void put_text(FILE *f, const char *name, const char *text)
{
    fprintf(f, "\"%s\": \"", name);
    for ( ; *text; text++ )
        if ( *text == '"' || *text == '\\' || (unsigned char)*text < 0x20 || (unsigned char)*text > 0x7e )
            fprintf(f, "\\u%04x", (unsigned char)*text);
        else
            fputc(*text, f);
    fputs("\", ", f);
}

static void put_number(FILE *f, const char *name, uint64_t value)
{
    fprintf(f, "\"%s\": \"0x%" PRIx64 "\", ", name, value);
}

static void refuse(const char *stage)
{
    printf("{ ");
    put_text(stdout, "stage", stage);
    put_text(stdout, "said", said);
    printf("\"outcome\": \"refused\" }\n");
    fflush(stdout);
    _exit(0);
}

static void parse(bool pvh, const char *path)
{
    xc_interface *xch = xc_interface_open(&logger.vtable, &logger.vtable, XC_OPENFLAG_DUMMY);
    struct xc_dom_image *dom = xc_dom_allocate(xch, NULL, NULL);
    assert(dom);
    dom->container_type = pvh ? XC_DOM_HVM_CONTAINER : XC_DOM_PV_CONTAINER;
    strcpy(dom->xen_caps, "xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ");
    if ( xc_dom_kernel_file(dom, path) )
        refuse("kernel_file");
    if ( xc_dom_parse_image(dom) )
        refuse("parse_image");
    const struct k_parms *k = (const void *)dom->parms;
    assert(k->virt_base == xc_dom_virt_base(dom));
    /* An HVM container takes a 32-bit file that is no PVH kernel for firmware such as hvmloader. */
    const char *loader = *(char *const *)dom->kernel_loader;    /* the first member, in a private header */
    if ( !strncmp(loader, "HVM", 3) )
        strcpy(said, "taken for firmware"), refuse("parse_image");
    assert(k->virt_kstart == dom->kernel_seg.vstart && k->virt_kend == dom->kernel_seg.vend);
    printf("{ ");
    put_text(stdout, "guest_type", dom->guest_type);
    put_text(stdout, "guest_os", k->guest_os);
    put_text(stdout, "guest_ver", k->guest_ver);
    put_text(stdout, "xen_ver", k->xen_ver);
    put_text(stdout, "loader", k->loader);
    put_number(stdout, "pae", k->pae);
    put_number(stdout, "bsd_symtab", k->bsd_symtab);
    put_number(stdout, "unmapped_initrd", k->unmapped_initrd);
    put_number(stdout, "virt_base", k->virt_base);
    put_number(stdout, "virt_entry", k->virt_entry);
    put_number(stdout, "virt_hypercall", k->virt_hypercall);
    put_number(stdout, "p2m_base", k->p2m_base);
    put_number(stdout, "elf_paddr_offset", k->elf_paddr_offset);
    put_number(stdout, "f_supported", k->f_supported[0]);
    put_number(stdout, "f_required", k->f_required[0]);
    put_number(stdout, "phys_entry", k->phys_entry);
    put_number(stdout, "virt_kstart", k->virt_kstart);
    put_number(stdout, "virt_kend", k->virt_kend);
    printf("\"outcome\": \"accepted\" }\n");
    fflush(stdout);
    _exit(0);
}

int main(void)
{
    char line[4096];
    while ( fgets(line, sizeof(line), stdin) )
    {
        line[strcspn(line, "\n")] = '\0';
        char *path = strchr(line, ' ');
        if ( !path )
            return 2;
        *path++ = '\0';
        fflush(stdout);
        pid_t child = fork();
        if ( child < 0 )
            return 2;
        if ( child == 0 )
            parse(!strcmp(line, "pvh"), path);
        int status;
        if ( waitpid(child, &status, 0) != child )
            return 2;
        if ( !WIFEXITED(status) || WEXITSTATUS(status) != 0 )
            printf("{ \"outcome\": \"crashed\", \"said\": \"signal %d\" }\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
    return 0;
}
