/*
 * Preloaded into xl, so that `xl -N create guest.cfg` works with no hypervisor: it parses the file, prints the
 * configuration that it would create a domain with, and is done. The requests of a dry run to Xen are answered here. If
 * XL_KEYS names a file, each key that xl asks its configuration for is written there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Handles that nothing is asked of. */
void *xc_interface_open(void *logger, void *dombuild_logger, unsigned flags) { return calloc(1, 1 << 16); }
int xc_interface_close(void *handle) { free(handle); return 0; }
void *xs_open(unsigned long flags) { return calloc(1, 1 << 16); }
void xs_close(void *handle) { free(handle); }

/* The host: eight processors, and an unknown version. */
int libxl_get_physinfo(void *ctx, void *physinfo) { return 0; }
const void *libxl_get_version_info(void *ctx) { return NULL; }
int libxl_get_max_cpus(void *ctx) { return 8; }
int libxl_get_online_cpus(void *ctx) { return 8; }

static void heard(const char *key)
{
    static int fd = -1;
    const char *name = getenv("XL_KEYS");
    char line[80];
    size_t length = strlen(key);
    if (!name || length > sizeof line - 2) return;
    if (fd < 0) fd = open(name, O_WRONLY | O_CREAT | O_APPEND, 0666);
    memcpy(line, key, length);
    line[length] = '\n';
    if (write(fd, line, length + 1) < 0) abort();
}

/* The library's own function of the same name. */
#define LISTENING(name, parameters, arguments)                       \
    int name parameters                                              \
    {                                                                \
        int (*real) parameters = dlsym(RTLD_NEXT, #name);            \
        heard(key);                                                  \
        return real arguments;                                       \
    }

LISTENING(xlu_cfg_get_string, (const void *cfg, const char *key, const char **v, int quiet), (cfg, key, v, quiet))
LISTENING(xlu_cfg_replace_string, (const void *cfg, const char *key, char **v, int quiet), (cfg, key, v, quiet))
LISTENING(xlu_cfg_get_long, (const void *cfg, const char *key, long *v, int quiet), (cfg, key, v, quiet))
LISTENING(xlu_cfg_get_bounded_long, (const void *cfg, const char *key, long min, long max, long *v, int quiet),
          (cfg, key, min, max, v, quiet))
LISTENING(xlu_cfg_get_defbool, (const void *cfg, const char *key, void *v, int quiet), (cfg, key, v, quiet))
LISTENING(xlu_cfg_get_list, (const void *cfg, const char *key, void **list, int *n, int quiet),
          (cfg, key, list, n, quiet))
LISTENING(xlu_cfg_get_list_as_string_list, (const void *cfg, const char *key, void *list, int quiet),
          (cfg, key, list, quiet))
