/*
 * A PVH kernel that says on COM1 which machine it was given, and ends it.
 *
 * Source: xen/include/public/arch-x86/hvm/start_info.h.
 * Gotcha: hvm_start_info of version 0 ends before memmap_paddr. The bytes there are a text or a list.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

struct start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr;
    /* Since version 1. */
    uint64_t memmap_paddr;
    uint32_t memmap_entries, reserved;
};

struct module {
    uint64_t paddr, size, cmdline_paddr, reserved;
};

struct memmap_entry {
    uint64_t addr, size;
    uint32_t type, reserved;
};

enum { START_INFO_MAGIC = 0x336ec578, MEMMAP_TYPE_RAM = 1 };
enum { COM1 = 0x3f8, COM1_STATUS = COM1 + 5, COM1_CAN_SEND = 0x20, DEBUG_EXIT = 0xf4 };

extern const char kernel_start[], kernel_end[];

static void outb(uint16_t port, uint8_t value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
    uint8_t value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void put(char c)
{
    while (!(inb(COM1_STATUS) & COM1_CAN_SEND))
        ;
    outb(COM1, c);
}

static void put_hex(uint64_t value)
{
    int shift = 60;
    while (shift > 0 && value >> shift == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        put("0123456789abcdef"[value >> shift & 15]);
}

/* %s is a text, and %x a uint64_t. */
static void print(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
        } else if (*++format == 's') {
            for (const char *s = va_arg(args, const char *); *s; s++)
                put(*s);
        } else {
            put_hex(va_arg(args, uint64_t));
        }
    }
    va_end(args);
}

/* Ends the machine: QEMU's device isa-debug-exit takes the status. */
static _Noreturn void end(uint8_t status)
{
    outb(DEBUG_EXIT, status);
    for (;;)
        asm volatile("hlt");
}

/* Paging is off, so an address is a pointer, if it has 32 bits. */
static const void *at(uint64_t paddr)
{
    return (const void *)(uintptr_t)paddr;
}

static bool has_memmap(const struct start_info *info)
{
#ifdef BUG
    return info->memmap_entries > 0;
#else
    return info->version >= 1 && info->memmap_entries > 0;
#endif
}

/* Whether the memory map has the kernel itself; entries come in any order. */
static bool kernel_is_in_ram(const struct start_info *info)
{
    const struct memmap_entry *map = at(info->memmap_paddr);
    uint64_t ram = 0;
    bool found = false;
    for (uint32_t i = 0; i < info->memmap_entries; i++) {
        if (map[i].type != MEMMAP_TYPE_RAM)
            continue;
        ram += map[i].size;
        found |= map[i].addr <= (uintptr_t)kernel_start && (uintptr_t)kernel_end <= map[i].addr + map[i].size;
    }
    print("RAM: 0x%x bytes\n", ram);
    return found;
}

static void print_modules(const struct start_info *info)
{
    const struct module *modules = at(info->modlist_paddr);
    for (uint32_t i = 0; i < info->nr_modules; i++) {
        const char *cmdline = modules[i].cmdline_paddr ? at(modules[i].cmdline_paddr) : "";
        print("module: 0x%x bytes at 0x%x, '%s'\n", modules[i].size, modules[i].paddr, cmdline);
    }
}

_Noreturn void kmain(const struct start_info *info)
{
    if (info->magic != START_INFO_MAGIC) {
        print("ebx leads to no hvm_start_info\n");
        end(1);
    }
    print("hvm_start_info: version %x\n", (uint64_t)info->version);
    print("command line: '%s'\n", info->cmdline_paddr ? at(info->cmdline_paddr) : "");
    print_modules(info);
    if (!has_memmap(info)) {
        print("RAM: no memory map\n");
    } else if (!kernel_is_in_ram(info)) {
        print("the kernel is not in RAM\n");
        end(1);
    }
    print("done\n");
    end(0);
}
