/**
 * The keys of an xl.cfg: those that a builder reads, and those that other programs read.
 *
 * Source: xl.cfg(5); the keys that Xen's tools/xl/xl_parse.c reads (the names, not the code), 4.17 to 4.22.
 * Gotcha: xl ignores an unknown key silently, so a misspelt key is never reported there.
 */
import { lazy } from '../lazy.js'

/** Keys that decide the guest's first instant, or the source of its kernel. */
export const builderKeys = lazy(() =>
  words(`
  kernel ramdisk cmdline root extra memory maxmem vcpus maxvcpus type builder name features bootloader firmware pvshim
`),
)

/**
 * Keys for xl, its device model and the hypervisor, except those that xl-cfg-settings.ts carries. None changes memory or
 * registers at the first instruction.
 */
export const otherKeys = lazy(() =>
  words(`
  pci_msitranslate pci_permissive pci_power_mgmt pci_seize pvcalls usbdev vdispl virtio vkb vsnd vif2
  vnc vncdisplay vnclisten vncpasswd vncunused
  init_seclabel seclabel bootloader_args bootloader_restrict bootloader_user
  cpuid cpus cpus_soft llc_colors vnuma xenstore_feature_mask xenstore_quota altp2m_count trap_unmapped_accesses
  device_model gic_version nr_spis sve tee vuart arm_sci pvshim_cmdline pvshim_extra pvshim_path
`),
)

/** Keys that xl reads for an HVM guest, for a device it has, or no more; in another guest they change nothing. */
export const hvmKeys = lazy(() =>
  words(`
  gfx_passthru hdtype rdm rdm_mem_boundary serial soundhw usb
  usbdevice usbversion vkb_device mca_caps vendor_device
  display keymap nographic opengl sdl spice spice_clipboard_sharing spice_image_compression spice_streaming_video
  spiceagent_mouse spicedisable_ticketing spicehost spicepasswd spiceport spicetls_port spiceusbredirection
  spicevdagent stdvga vga vncviewer xauthority
  acpi_firmware acpi_laptop_slate acpi_s3 acpi_s4 altp2mhvm apic bios bios_path_override boot
  firmware_override hpet hvm_pirq mmio_hole ms_vm_genid nx pae smbios smbios_firmware viridian vpt_align
  xen_platform_pci xen_platform_pci_bar_uc
`),
)

function words(text: string): string[] {
  return text.trim().split(/\s+/)
}
