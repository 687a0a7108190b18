/*
 * The entry of a 64-bit PV guest, the notes that describe it, and the page that Xen fills with hypercalls.
 *
 * Source: xen/include/public/elfnote.h; xen/include/public/xen.h, "Start-of-day memory layout".
 * Gotcha: Xen's builder writes the hypercall page over what the file has there, so it is a page without content.
 */
#define XEN_ELFNOTE_ENTRY           1
#define XEN_ELFNOTE_HYPERCALL_PAGE  2
#define XEN_ELFNOTE_VIRT_BASE       3
#define XEN_ELFNOTE_XEN_VERSION     5
#define XEN_ELFNOTE_GUEST_OS        6
#define XEN_ELFNOTE_LOADER          8

        .macro  note type, value:vararg
        .section .note.Xen, "a", @note
        .balign 4
        .long   2f - 1f, 4f - 3f, \type
1:      .asciz  "Xen"
2:      .balign 4
3:      \value
4:
        .endm

        note    XEN_ELFNOTE_GUEST_OS, .asciz "pv64-c"
        note    XEN_ELFNOTE_XEN_VERSION, .asciz "xen-3.0"
        note    XEN_ELFNOTE_LOADER, .asciz "generic"
        note    XEN_ELFNOTE_VIRT_BASE, .quad virt_base
        note    XEN_ELFNOTE_ENTRY, .quad start
        note    XEN_ELFNOTE_HYPERCALL_PAGE, .quad hypercall_page

        .section .text.start, "ax"
        .globl  start, hypercall_page
start:
        cld
        mov     $stack_end, %rsp
        mov     %rsi, %rdi              # the argument of kmain: start_info
        call    kmain

        .balign 4096
hypercall_page:
        .skip   4096

        .bss
        .balign 16
        .skip   4096
stack_end:

        .section .note.GNU-stack, "", @progbits
