/*
 * The interface of Xen 4.14's domain builder, which its installed headers do
 * not declare.
 *
 * Source: the layout of struct xc_dom_image in Xen 4.14; later releases declare
 * it in xenguest.h. Members that the oracle does not use are only room here.
 *
 * Gotcha: needs struct k_parms, which 4.14 has inside the structure; as an array
 * of one it is used like the pointer of later releases.
 */
struct xc_dom_seg { uint64_t vstart, vend; xen_pfn_t pfn, pages; };
struct xc_dom_phys { struct xc_dom_phys *next; void *ptr; xen_pfn_t first, count; };

struct xc_dom_image {
    void *kernel; size_t kernel_bytes;
    unsigned int num_modules;
    struct { void *blob; size_t size; void *cmdline; struct xc_dom_seg seg; } modules[2];
    void *devicetree; size_t devicetree_bytes, max_bytes[3];
    char *cmdline; size_t cmdline_bytes;
    uint32_t f_requested[XENFEAT_NR_SUBMAPS];
    struct k_parms parms[1];
    char *guest_type;
    struct xc_dom_seg kernel_seg, p2m_seg, pgtables_seg, devicetree_seg, start_info_seg;
    xen_pfn_t start_info_pfn, console_pfn, xenstore_pfn, shared_info_pfn, bootstack_pfn, pfn_alloc_end;
    uint64_t virt_alloc_end, bsd_symtab_start, initrd_start, initrd_len;
    unsigned int alloc_bootstack;
    uint64_t virt_pgtab_end;
    uint32_t f_active[XENFEAT_NR_SUBMAPS];
    xen_pfn_t *p2m, rambase_pfn, total_pages, p2m_size;
    struct xc_dom_phys *phys_pages;
    void *memblocks; size_t alloc_bytes[4];
    unsigned long flags;
    unsigned int console_evtchn, xenstore_evtchn;
    uint32_t console_domid, xenstore_domid;
    xen_pfn_t shared_info_mfn;
    xc_interface *xch;
    uint32_t guest_domid; int claim_enabled, xen_version;
    xen_capabilities_info_t xen_caps;
    void *kernel_loader, *private_loader;
    xen_vmemrange_t *vmemranges; unsigned int nr_vmemranges;
    unsigned int *vnode_to_pnode, nr_vnodes;
    void *arch_private;
    struct xc_dom_arch {
        int (*alloc_magic_pages)(struct xc_dom_image *), (*alloc_pgtables)(struct xc_dom_image *);
        int (*alloc_p2m_list)(struct xc_dom_image *), (*setup_pgtables)(struct xc_dom_image *);
        int (*start_info)(struct xc_dom_image *), (*shared_info)(struct xc_dom_image *, void *);
        int (*vcpu)(struct xc_dom_image *), (*bootearly)(struct xc_dom_image *);
        int (*bootlate)(struct xc_dom_image *), (*meminit)(struct xc_dom_image *);
        char *guest_type, *native_protocol;
        int page_shift, sizeof_pfn;
    } *arch_hooks;
    int (*allocate)(struct xc_dom_image *);
};

struct xc_dom_image *xc_dom_allocate(xc_interface *, const char *cmdline, const char *features);
int xc_dom_kernel_max_size(struct xc_dom_image *, size_t), xc_dom_module_max_size(struct xc_dom_image *, size_t);
int xc_dom_kernel_file(struct xc_dom_image *, const char *path);
int xc_dom_module_file(struct xc_dom_image *, const char *path, const char *cmdline);
int xc_dom_boot_xen_init(struct xc_dom_image *, xc_interface *, uint32_t domid);
int xc_dom_parse_image(struct xc_dom_image *), xc_dom_mem_init(struct xc_dom_image *, unsigned int mib);
int xc_dom_boot_mem_init(struct xc_dom_image *), xc_dom_build_image(struct xc_dom_image *);
int xc_dom_boot_image(struct xc_dom_image *), xc_dom_gnttab_init(struct xc_dom_image *);
