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

/** Keys for xl, its device model and the hypervisor. None changes memory or registers at the first instruction. */
export const otherKeys = lazy(() =>
  words(`
  channel disk dtdev gfx_passthru hdtype iomem ioports irqs p9 passthrough pci pci_msitranslate pci_permissive
  pci_power_mgmt pci_seize pvcalls rdm rdm_mem_boundary serial soundhw usb usbctrl usbdev usbdevice usbversion
  vdispl vfb vif vif2 virtio vkb vkb_device vsnd vtpm vuart
  driver_domain init_seclabel localtime nomigrate on_crash on_poweroff on_reboot on_soft_reset on_watchdog pool
  rtc_timeoffset seclabel uuid
  cap cpu_weight cpuid cpus cpus_soft extratime latency llc_colors mca_caps msr_relaxed period slice timer_mode
  tsc_mode vendor_device vmtrace_buf_kb vnuma vpmu
  e820_host max_event_channels max_grant_frames max_grant_version max_maptrack_frames shadow_memory
  xend_suspend_evtchn_compat xenstore_feature_mask xenstore_quota
  bootloader_args bootloader_restrict bootloader_user device_tree pvshim_cmdline pvshim_extra pvshim_path
  display keymap nographic opengl sdl spice spice_clipboard_sharing spice_image_compression spice_streaming_video
  spiceagent_mouse spicedisable_ticketing spicehost spicepasswd spiceport spicetls_port spiceusbredirection
  spicevdagent stdvga vga videoram vnc vncdisplay vnclisten vncpasswd vncunused vncviewer xauthority
  acpi acpi_firmware acpi_laptop_slate acpi_s3 acpi_s4 altp2m altp2m_count altp2mhvm apic bios bios_path_override
  boot device_model device_model_args device_model_args_hvm device_model_args_pv device_model_override
  device_model_stubdomain_override device_model_stubdomain_seclabel device_model_user device_model_version
  dm_restrict firmware_override hap hpet hvm_pirq mmio_hole ms_vm_genid nestedhvm nx oos pae smbios smbios_firmware
  stubdomain_cmdline stubdomain_kernel stubdomain_memory stubdomain_ramdisk viridian vpt_align xen_platform_pci
  xen_platform_pci_bar_uc
  arm_sci gic_version nr_spis sve tee trap_unmapped_accesses
`),
)

function words(text: string): string[] {
  return text.trim().split(/\s+/)
}
