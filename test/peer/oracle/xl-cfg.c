/* Reads an xl.cfg on standard input with libxlutil and prints the keys named as arguments: text in hex, or a list. */
#include <stdio.h>
#include <libxlutil.h>

static void show(const char *text)
{
    if (!text) { fputs("nested", stdout); return; }
    putchar('s');
    for (; *text; text++) printf("%02x", (unsigned char)*text);
}

int main(int argc, char **argv)
{
    static char text[1 << 16];
    int length = (int)fread(text, 1, sizeof text, stdin);
    XLU_Config *config = xlu_cfg_init(stderr, "xl.cfg");
    if (!config || xlu_cfg_readdata(config, text, length)) return 1;
    for (int i = 1; i < argc; i++) {
        const char *value;
        XLU_ConfigList *list;
        int entries;
        printf("%s ", argv[i]);
        if (!xlu_cfg_get_string(config, argv[i], &value, 1)) show(value);
        else if (!xlu_cfg_get_list(config, argv[i], &list, &entries, 1)) {
            putchar('[');
            for (int j = 0; j < entries; j++) { if (j) putchar(' '); show(xlu_cfg_get_listitem(list, j)); }
            putchar(']');
        } else fputs("none", stdout);
        putchar('\n');
    }
    return 0;
}
