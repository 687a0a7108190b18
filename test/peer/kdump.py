# Reads a dump by another program's library: python3 kdump.py libkdumpfile|drgn|snappy DUMP MEMORY
#
# Source: pydoc3 kdumpfile, drgn, snappy.
# Gotcha: libkdumpfile reads a page that is in no dump as zero only if it is told to. drgn refuses such a page.
import sys

PAGE = 4096


def pages(path):
    with open(path, "rb") as file:
        return [page for page in iter(lambda: file.read(PAGE), b"")]


def libkdumpfile(path):
    import kdumpfile

    dump = kdumpfile.kdumpfile(path)
    dump.attr["arch.name"] = "x86_64"
    dump.attr["file.zero_excluded"] = 1
    for cpu in range(dump.attr["cpu.number"] if "cpu.number" in dump.attr else 0):
        for name in ("rip", "rsp", "gs_base"):
            print(name, cpu, "%016x" % dump.attr["cpu.%d.reg.%s" % (cpu, name)])
    return lambda address: dump.read(kdumpfile.KDUMP_MACHPHYSADDR, address, PAGE)


def drgn(path):
    import drgn

    program = drgn.Program()
    program.set_core_dump(path)
    print(program.platform.arch.name, program.flags)

    def read(address):
        try:
            return program.read(address, PAGE, physical=True)
        except Exception as error:
            if "Excluded page" not in str(error):
                raise
            return None

    return read


def compare(reader, dump, memory):
    read = reader(dump)
    equal, omitted = 0, 0
    for number, page in enumerate(pages(memory)):
        found = read(number * PAGE)
        if found is None and page == bytes(PAGE):
            omitted += 1
        elif found == page:
            equal += 1
        else:
            sys.exit("the page at %#x differs" % (number * PAGE))
    print("pages", equal, omitted)


def snappy(path):
    import snappy

    for page in pages(path):
        block = snappy.compress(page)
        sys.stdout.buffer.write(len(block).to_bytes(4, "little") + block)


what, first, *rest = sys.argv[1:]
if what == "snappy":
    snappy(first)
else:
    compare({"libkdumpfile": libkdumpfile, "drgn": drgn}[what], first, *rest)
