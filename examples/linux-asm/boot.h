/*
 * Linux's boot protocol, as far as these two files need it.
 *
 * Source: Linux Documentation/arch/x86/boot.rst and zero-page.rst.
 * Gotcha: an e820 entry has 20 bytes, without padding.
 */
#define BOOT_PARAMS_E820_ENTRIES 0x1e8
#define BOOT_PARAMS_HDR          0x1f1
#define BOOT_PARAMS_RAMDISK      0x218
#define BOOT_PARAMS_RAMDISK_SIZE 0x21c
#define BOOT_PARAMS_CMDLINE      0x228
#define BOOT_PARAMS_E820_TABLE   0x2d0
#define BOOT_PARAMS_BYTES        0x1000

#define E820_ENTRY_BYTES 20
#define E820_MAX         128
#define E820_TYPE_RAM    1
#define SMAP             0x534d4150

#define SETUP_SECTS 8
#define LOADED_HIGH 1
#define BOOT_CS     0x10
#define BOOT_DS     0x18
