/*
 * kexec-load FILE [crash]: hands the segments of a kexec file to kexec_load(2), and reboots into them; or leaves them for
 * when the kernel crashes.
 *
 * Source: docs/formats.md, "The kexec format"; kexec_load(2), reboot(2).
 * Gotcha: the file needs no understanding beyond ELF: each PT_LOAD is a segment, e_entry is the entry.
 */
#include <elf.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv) {
  int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) return perror(argv[0]), 2;
  char *file = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (file == MAP_FAILED) return perror("mmap"), 2;

  Elf64_Ehdr *ehdr = (Elf64_Ehdr *)file;
  Elf64_Phdr *phdr = (Elf64_Phdr *)(file + ehdr->e_phoff);
  struct kexec_segment segments[KEXEC_SEGMENT_MAX];
  unsigned long n = 0;
  for (int i = 0; i < ehdr->e_phnum && n < KEXEC_SEGMENT_MAX; i++)
    if (phdr[i].p_type == PT_LOAD)
      segments[n++] = (struct kexec_segment){file + phdr[i].p_offset, phdr[i].p_filesz, (void *)phdr[i].p_paddr,
                                             phdr[i].p_memsz};

  unsigned long flags = KEXEC_ARCH_X86_64 | (argc > 2 ? KEXEC_ON_CRASH : 0);
  if (syscall(SYS_kexec_load, ehdr->e_entry, n, segments, flags) != 0) return perror("kexec_load"), 1;
  printf("FIRST-LOADED %lu segments\n", n);
  fflush(stdout);
  if (argc > 2) return 0;
  syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
  return perror("reboot"), 1;
}
