/**
 * The domain that a command line describes, for the commands that launch it on a Xen host.
 *
 * Source: ./guest-options.ts, ../toolstack/launch-config.ts.
 * Gotcha: a guest that restarts is launched from its files as they are then, so none of them may be standard input.
 */

import { defined } from '../defined.js'
import { DEFAULT_MEMORY, merge } from '../guest/libxl-config.js'
import { bestType } from '../protocol/build.js'
import type { Hypervisor } from '../toolstack/hypervisor.js'
import { type LaunchOptions, launch } from '../toolstack/launch.js'
import type { LaunchConfig } from '../toolstack/launch-config.js'
import type { LaunchProgress } from '../toolstack/launching.js'
import type { LiveDomain } from '../toolstack/live-domain.js'
import { type LiveSettings, liveSettings } from '../toolstack/live-settings.js'
import { parseSize } from '../units.js'
import { type Invocation, type Options, texts, UsageError } from './command.js'
import { describeGuest, type GuestDescription, guestOptions, readPolicies, typeOption } from './guest-options.js'
import { isTextFile, openKernel } from './input.js'
import { linuxOptions, readLinux } from './linux-options.js'
import { pvOptions, readPv } from './pv-options.js'
import { pvhOptions, readPvh } from './pvh-options.js'

const types = ['pvh'] as const

/** The options of a guest that Xen creates. */
export const launchOptions = {
  ...guestOptions,
  type: typeOption(['pv', 'pvh', 'auto']),
  features: pvOptions.features,
  acpi: pvhOptions.acpi,
  'load-address': { ...linuxOptions['load-address'], types },
  reserve: { ...linuxOptions.reserve, types },
} as const satisfies Options

/** A domain that can be launched. */
export interface LaunchDescription extends Omit<GuestDescription, 'config'> {
  readonly config: LaunchConfig
  readonly settings: LiveSettings
}

/**
 * Returns the domain that options, operand and xl.cfg describe. The operand is a kernel or an xl.cfg.
 * @throws UsageError for keys and settings that the domain would not get; the errors of describeGuest.
 */
export function describeLaunch(
  { values, positionals }: Pick<Invocation, 'values' | 'positionals'>,
  command: string,
): LaunchDescription {
  const [operand] = positionals
  const files = [operand, values.config, values['policy-from'], ...texts(values, 'ramdisk')]
  if (files.includes('-')) {
    throw new UsageError('a guest that restarts needs its files again, so none of them can be standard input')
  }
  const isFile = operand !== undefined && isTextFile(operand)
  if (isFile && values.config !== undefined) throw new UsageError(`${operand} and --config are both an xl.cfg`)
  const { config, ...description } = describeGuest(
    isFile ? { values: { ...values, config: operand }, positionals: [] } : { values, positionals },
    { command, options: launchOptions, refusal: notDone },
  )
  const all = {
    memory: parseSize(DEFAULT_MEMORY),
    ...config,
    ...readPv(values),
    ...readPvh(values),
    ...readLinux(values),
  }
  return { ...description, config: all as LaunchConfig, settings: liveSettings(config.settings) }
}

/** The domain would not be the one asked for. */
const notDone = (keys: string): string => `not supported by this command: ${keys}: remove them, or use xl create`

/** The words for each step. */
const STEPS: Readonly<Record<LaunchProgress['step'], string>> = {
  populate: 'allocating memory',
  write: 'writing the guest',
}

/**
 * Reads the kernel of a description, and launches the guest.
 * @param uuid that of the domain which it replaces.
 */
export async function launchDescribed(
  xen: Hypervisor,
  { kernel: file, config }: LaunchDescription,
  { values, progress }: Pick<Invocation, 'values' | 'progress'>,
  { uuid, ...options }: LaunchOptions & { readonly uuid?: string },
): Promise<LiveDomain> {
  const policies = await readPolicies(values, progress)
  const kernel = await openKernel(file, progress)
  policies?.requireFor(config.type === 'pv' || config.type === 'pvh' ? config.type : bestType(kernel, 'create'))
  const settings = uuid === undefined ? config.settings : merge(config.settings ?? {}, { c_info: { uuid } })
  const whole = { ...config, ...defined({ settings, policies: policies?.records }) } as LaunchConfig
  const live = await launch(xen, kernel, whole, {
    onProgress: ({ step, ...part }) => progress.say(STEPS[step], part),
    ...options,
  })
  progress.end()
  return live
}
