/*
 * The setup header of a bzImage, and the setup code for a loader that enters it in real mode.
 *
 * Source: Linux Documentation/arch/x86/boot.rst and zero-page.rst.
 * Gotcha: the header lies where boot_params has it, so the first page becomes boot_params. The code is after that page.
 */
#include "boot.h"

        .section .setup, "awx"
        .code16

        .org    BOOT_PARAMS_HDR
        .byte   SETUP_SECTS
        .word   0                       # root_flags
        .long   syssize
        .word   0, 0, 0                 # ram_size, vid_mode, root_dev
        .word   0xaa55                  # boot_flag
        jmp     1f                      # its operand is the length of the header
        .ascii  "HdrS"
        .word   0x20a                   # version 2.10
        .long   0                       # realmode_swtch
        .word   0                       # start_sys_seg
        .word   version - 0x200
        .byte   0                       # type_of_loader
        .byte   LOADED_HIGH
        .word   0                       # setup_move_size
code32_start:
        .long   start
        .long   0, 0, 0                 # ramdisk_image, ramdisk_size, bootsect_kludge
        .word   0                       # heap_end_ptr
        .byte   0, 0                    # ext_loader_ver, ext_loader_type
        .long   0                       # cmd_line_ptr
        .long   0x7fffffff              # initrd_addr_max
        .long   0                       # kernel_alignment
        .byte   0, 0                    # relocatable_kernel, min_alignment
        .word   0                       # xloadflags
        .long   2047                    # cmdline_size
        .long   0                       # hardware_subarch
        .quad   0                       # hardware_subarch_data
        .long   0, 0                    # payload_offset, payload_length
        .quad   0                       # setup_data
        .long   start, 0                # pref_address
        .long   init_size
1:      jmp     setup

        .org    BOOT_PARAMS_BYTES
/* ds, es and ss are the segment of boot_params. */
setup:
        cld
        xor     %ebx, %ebx
        mov     $BOOT_PARAMS_E820_TABLE, %di
next_entry:
        mov     $0xe820, %eax
        mov     $SMAP, %edx
        mov     $E820_ENTRY_BYTES, %ecx
        int     $0x15
        jc      protected
        cmp     $SMAP, %eax
        jne     protected
        add     $E820_ENTRY_BYTES, %di
        incb    BOOT_PARAMS_E820_ENTRIES
        cmpb    $E820_MAX, BOOT_PARAMS_E820_ENTRIES
        je      protected
        test    %ebx, %ebx
        jnz     next_entry

protected:
        cli
        in      $0x92, %al              # address line 20
        or      $2, %al
        out     %al, $0x92
        xor     %esi, %esi
        mov     %ds, %si
        shl     $4, %esi                # boot_params, for the 32-bit entry
        add     %esi, gdt_address
        lgdtl   gdt_limit
        mov     code32_start, %eax
        mov     %eax, entry
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        xor     %ebx, %ebx
        xor     %ebp, %ebp
        xor     %edi, %edi
        ljmpl   *entry

entry:  .long   0
        .word   BOOT_CS

        .balign 8
gdt:    .quad   0, 0
        .quad   0x00cf9a000000ffff      # BOOT_CS: flat code
        .quad   0x00cf92000000ffff      # BOOT_DS: flat data
gdt_limit:
        .word   . - gdt - 1
gdt_address:
        .long   gdt

version:
        .asciz  "linux-asm 1.0"
        .org    (SETUP_SECTS + 1) * 512
        .section .note.GNU-stack, "", @progbits
