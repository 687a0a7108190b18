/*
 * A 64-bit PV kernel that says on Xen's console which guest it is, walks its page tables, and shuts down.
 *
 * Source: xen/include/public/xen.h and sched.h; arch-x86/xen-x86_64.h.
 * Gotcha: a page table has machine frames. Xen's table leads from each to the guest's page; no sum does.
 */
#include <stdarg.h>
#include <stdint.h>

struct start_info {
    char magic[32];
    uint64_t nr_pages, shared_info;
    uint32_t flags;
    uint64_t store_mfn;
    uint32_t store_evtchn;
    uint64_t console_mfn;
    uint32_t console_evtchn;
    uint64_t pt_base, nr_pt_frames, mfn_list, mod_start, mod_len;
    char cmd_line[1024];
};

enum { HYPERVISOR_console_io = 18, HYPERVISOR_sched_op = 29 };
enum { CONSOLEIO_write = 0, SCHEDOP_shutdown = 2 };
enum shutdown_reason { SHUTDOWN_poweroff = 0, SHUTDOWN_crash = 3 };

/* Xen's table of the page of each machine frame. */
#define machine_to_phys ((const uint64_t *)0xffff800000000000)

enum { PAGE_SHIFT = 12, LEVELS = 4, INDEX_BITS = 9 };
static const uint64_t PTE_PRESENT = 1, PTE_FRAME = 0x000ffffffffff000;

extern const char virt_base[];
extern const char hypercall_page[][32];

/* The machine frame of each page. */
static const uint64_t *mfn_list;

static int64_t hypercall(int number, uint64_t first, uint64_t second, const void *third)
{
    int64_t result;
    asm volatile("call *%[entry]"
                 : "=a"(result), "+D"(first), "+S"(second), "+d"(third)
                 : [entry] "r"(hypercall_page[number])
                 : "rcx", "r8", "r9", "r10", "r11", "memory");
    return result;
}

static void put(const char *text, uint64_t bytes)
{
    hypercall(HYPERVISOR_console_io, CONSOLEIO_write, bytes, text);
}

static void put_text(const char *text)
{
    uint64_t bytes = 0;
    while (text[bytes])
        bytes++;
    put(text, bytes);
}

static void put_hex(uint64_t value)
{
    char digits[16], *first = digits + sizeof digits;
    do
        *--first = "0123456789abcdef"[value & 15];
    while (value >>= 4);
    put(first, digits + sizeof digits - first);
}

/* %s is a text, and %x a uint64_t. */
static void print(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    while (*format) {
        const char *end = format;
        while (*end && *end != '%')
            end++;
        put(format, end - format);
        if (*end == 0)
            break;
        if (end[1] == 's')
            put_text(va_arg(args, const char *));
        else
            put_hex(va_arg(args, uint64_t));
        format = end + 2;
    }
    va_end(args);
}

static _Noreturn void end(enum shutdown_reason reason)
{
    unsigned int argument = reason;
    hypercall(HYPERVISOR_sched_op, SCHEDOP_shutdown, (uint64_t)&argument, 0);
    __builtin_unreachable();
}

/* The page of a machine frame. */
static uint64_t pfn_of(uint64_t mfn)
{
#ifdef BUG
    return mfn - mfn_list[0];
#else
    return machine_to_phys[mfn];
#endif
}

/* The machine frame that the page tables map an address to. */
static uint64_t mapped_at(const struct start_info *info, const void *address)
{
    const uint64_t *table = (const uint64_t *)info->pt_base;
    for (int level = LEVELS; ; level--) {
        int shift = PAGE_SHIFT + (level - 1) * INDEX_BITS;
        uint64_t entry = table[(uint64_t)address >> shift & ((1 << INDEX_BITS) - 1)];
        if (!(entry & PTE_PRESENT)) {
            print("the tables do not map the kernel\n");
            end(SHUTDOWN_crash);
        }
        uint64_t mfn = (entry & PTE_FRAME) >> PAGE_SHIFT;
        if (level == 1)
            return mfn;
        table = (const uint64_t *)(virt_base + (pfn_of(mfn) << PAGE_SHIFT));
    }
}

_Noreturn void kmain(const struct start_info *info)
{
    uint64_t pfn = ((const char *)kmain - virt_base) >> PAGE_SHIFT;

    mfn_list = (const uint64_t *)info->mfn_list;
    print("start_info: %s\n", info->magic);
    print("command line: '%s'\n", info->cmd_line);
    print("RAM: 0x%x pages\n", info->nr_pages);
    print("ramdisk: 0x%x bytes at 0x%x\n", info->mod_len, info->mod_start);

    uint64_t mfn = mapped_at(info, kmain);
    print("the kernel's page 0x%x is frame 0x%x\n", pfn, mfn);
    if (mfn != mfn_list[pfn]) {
        print("the list has frame 0x%x\n", mfn_list[pfn]);
        end(SHUTDOWN_crash);
    }
    print("done\n");
    end(SHUTDOWN_poweroff);
}
