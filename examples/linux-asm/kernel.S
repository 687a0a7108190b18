/*
 * A kernel for the 32-bit entry of Linux's boot protocol: it says on COM1 which machine it was given, and ends it.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, "32-bit Boot Protocol", and zero-page.rst.
 * Gotcha: the e820 table has no order, so its last entry is not the end of RAM.
 */
#include "boot.h"

#define COM1          0x3f8
#define COM1_STATUS   0x3fd
#define COM1_CAN_SEND 0x20
#define DEBUG_EXIT    0xf4

        .macro  say text
        .section .rodata.str, "a"
.Lsay\@:
        .asciz  "\text"
        .text
        mov     $.Lsay\@, %esi
        call    put_text
        .endm

        .section .text.start, "ax"
        .globl  start
start:
        cld
        mov     $BOOT_DS, %eax          # loadflags lacks KEEP_SEGMENTS, so the kernel loads them
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $stack_end, %esp
        mov     %esi, %ebp              # boot_params

        say     "command line: '"
        mov     BOOT_PARAMS_CMDLINE(%ebp), %esi
        test    %esi, %esi
        jz      1f
        call    put_text
1:      say     "'\nramdisk: 0x"
        mov     BOOT_PARAMS_RAMDISK_SIZE(%ebp), %eax
        call    put_hex
        say     " bytes at 0x"
        mov     BOOT_PARAMS_RAMDISK(%ebp), %eax
        call    put_hex

        call    end_of_ram
        say     "\nRAM ends at 0x"
        mov     %edx, %eax
        call    put_hex
        mov     %ecx, %eax
        call    put_hex
        say     "\n"

        test    %edx, %edx              # an end beyond 32 bits is above the kernel
        jnz     1f
        cmp     $kernel_end, %ecx
        jae     1f
        say     "the kernel is not in RAM\n"
        mov     $1, %al
        jmp     end
1:      say     "done\n"
        mov     $0, %al

/* Ends the machine: QEMU's device isa-debug-exit takes the status in al. */
end:
        out     %al, $DEBUG_EXIT
1:      hlt
        jmp     1b

/* Returns the end of RAM in edx:ecx. */
end_of_ram:
        xor     %ecx, %ecx
        xor     %edx, %edx
        movzbl  BOOT_PARAMS_E820_ENTRIES(%ebp), %ebx
        lea     BOOT_PARAMS_E820_TABLE(%ebp), %esi
next_entry:
        sub     $1, %ebx
        jc      2f
        cmpl    $E820_TYPE_RAM, 16(%esi)
        jne     1f
        mov     (%esi), %eax            # edi:eax, the end of this entry
        mov     4(%esi), %edi
        add     8(%esi), %eax
        adc     12(%esi), %edi
#ifndef BUG
        cmp     %eax, %ecx
        push    %edx
        sbb     %edi, %edx
        pop     %edx
        jae     1f
#endif
        mov     %eax, %ecx
        mov     %edi, %edx
1:      add     $E820_ENTRY_BYTES, %esi
        jmp     next_entry
2:      ret

/* Writes the text at esi. Keeps ecx and edx. */
put_text:
        lodsb
        test    %al, %al
        jz      1f
        call    put
        jmp     put_text
1:      ret

/* Writes eax as eight digits. Keeps ecx and edx. */
put_hex:
        mov     $8, %ebx
        mov     %eax, %edi
1:      rol     $4, %edi
        mov     %edi, %eax
        and     $15, %eax
        mov     digits(%eax), %al
        call    put
        dec     %ebx
        jnz     1b
        ret

/* Writes the character in al. */
put:
        push    %edx
        push    %eax
        mov     $COM1_STATUS, %dx
1:      in      %dx, %al
        test    $COM1_CAN_SEND, %al
        jz      1b
        pop     %eax
        mov     $COM1, %dx
        out     %al, %dx
        pop     %edx
        ret

        .section .rodata, "a"
digits: .ascii  "0123456789abcdef"

        .bss
        .balign 16
        .skip   4096
stack_end:

        .section .note.GNU-stack, "", @progbits
