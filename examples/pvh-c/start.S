/*
 * The entry of a PVH guest, and the note that names it.
 *
 * Source: Xen docs/misc/pvh.pandoc; xen/include/public/elfnote.h.
 * Gotcha: ebx alone has a value. esp is no stack, and the direction flag may be set.
 */
#define XEN_ELFNOTE_PHYS32_ENTRY 18

        .section .note.Xen, "a", @note
        .long   2f - 1f, 4f - 3f, XEN_ELFNOTE_PHYS32_ENTRY
1:      .asciz  "Xen"
2:      .balign 4
3:      .long   start
4:

        .section .text.start, "ax"
        .globl  start
start:
        cld
        mov     $stack_end, %esp
        push    %ebx                    # the argument of kmain: hvm_start_info
        call    kmain

        .bss
        .balign 16
        .skip   4096
stack_end:

        .section .note.GNU-stack, "", @progbits
