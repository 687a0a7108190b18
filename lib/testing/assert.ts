/**
 * Assertions on a guest's first instant, for any test runner: tap, node:test, vitest.
 *
 * Source: each names the structure that it reads; ./compare.ts makes the errors.
 * Gotcha: only named fields are compared: a difference in another field does not fail the test.
 */

import type { BootParamsFields } from '../abi/boot-params.js'
import type { HvmStartInfoFields } from '../abi/hvm-start-info.js'
import { encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { readBootParams } from '../guest/boot-params.js'
import type { Domain } from '../guest/domain.js'
import { readHvmStartInfo } from '../guest/hvm-start-info.js'
import { readStartInfo, type StartInfo } from '../guest/start-info.js'
import { walkPageTables } from '../guest/table-reader.js'
import { readVirtual, type Translation, translate } from '../guest/translate.js'
import type { Registers, Vcpu } from '../guest/vcpu.js'
import { describeDomain } from '../inspect/describe.js'
import { physicalRanges } from '../inspect/frames.js'
import { type MappedRun, RunCollector } from '../inspect/mapped-runs.js'
import { showPath, validate } from '../inspect/validate.js'
import { walkText } from '../inspect/walk.js'
import { hex, PAGE_SIZE, type Paddr, shown, showSize, type Vaddr } from '../units.js'
import { compare, fail, requireGuest, requireVaddr } from './compare.js'
import { checkExpectation, differencesOf, differenceText, type Expectation, namedParts } from './expectation.js'

/** Some of the fields of a struct, and of the structs within it. */
export type Some<T> = T extends Uint8Array | readonly unknown[]
  ? T
  : T extends object
    ? { readonly [K in keyof T]?: Some<T[K]> }
    : T

/**
 * Asserts that start_info has these fields: names as in xen.h; nr_pages and others are bigint, `cmd_line` is text.
 * @throws AssertionError for different fields; DomainBuilderError `bad-config` for a guest without start_info.
 */
export function assertStartInfo(domain: Domain, expected: Some<StartInfo>): void {
  requireGuest(domain)
  compare('start_info', readStartInfo(domain), expected, assertStartInfo)
}

/**
 * Asserts that hvm_start_info has these fields: names as in start_info.h, addresses as bigint.
 * @throws AssertionError for different fields; DomainBuilderError `bad-config` for a guest without one.
 */
export function assertHvmStartInfo(domain: Domain, expected: Some<HvmStartInfoFields>): void {
  requireGuest(domain)
  compare('hvm_start_info', readHvmStartInfo(domain).fields, expected, assertHvmStartInfo)
}

/**
 * Asserts that boot_params has these fields, the setup header's under `hdr`.
 * @throws AssertionError for different fields; DomainBuilderError `bad-config` for a guest without boot_params.
 */
export function assertBootParams(domain: Domain, expected: Some<BootParamsFields>): void {
  requireGuest(domain)
  compare('boot_params', readBootParams(domain), expected, assertBootParams)
}

/**
 * Asserts that the page tables map an address, to the expected place.
 * @param expected parts of the translation: `paddr` (bytes), `pfn`, `mfn`, `writable`, `user`, `pageSize`.
 * @throws AssertionError if they do not.
 */
export function assertMapped(domain: Domain, vaddr: Vaddr, expected: Some<Translation> = {}): void {
  requireGuest(domain)
  requireVaddr(vaddr)
  const found = translate(domain, vaddr)
  const where = `the page at ${hex(vaddr)}`
  const walk = () => walkText(domain, vaddr)
  if (found === undefined) compare(where, 'not mapped', 'mapped', assertMapped, walk)
  compare(where, found, expected, assertMapped, walk)
}

/** Asserts that the page tables do not map an address. @throws AssertionError, with the walk, if they do. */
export function assertNotMapped(domain: Domain, vaddr: Vaddr): void {
  requireGuest(domain)
  requireVaddr(vaddr)
  const found = translate(domain, vaddr) === undefined ? 'not mapped' : 'mapped'
  compare(`the page at ${hex(vaddr)}`, found, 'not mapped', assertNotMapped, () => walkText(domain, vaddr))
}

/**
 * Asserts a part of the JSON that `xdb inspect --json` prints for the guest: what an expectation file of `xdb test` has.
 * @throws AssertionError with a line for each difference, named by its path; DomainBuilderError `bad-config` for an
 *   expectation that is not an object.
 *
 * @example
 * ```ts
 * assertGuest(guest, { type: 'pvh', vcpus: [{ registers: { rip: '0x100000' } }], hvmStartInfo: { nr_modules: '0x0' } })
 * ```
 */
export function assertGuest(domain: Domain, expected: Expectation): void {
  requireGuest(domain)
  const wanted = checkExpectation(expected, 'the expectation')
  const found = describeDomain(domain)
  const lines = differencesOf(found, wanted).map((one) => `  ${differenceText(one)}`)
  if (lines.length > 0) fail('the guest', lines, namedParts(found, wanted), wanted, assertGuest)
}

/** The general and the control registers of a vcpu. */
type AllRegisters = Registers & Pick<Vcpu, 'cr0' | 'cr3' | 'cr4' | 'efer'>

/**
 * Asserts that a vcpu starts with these registers: `rip`, `rsi`, `rflags`, `cr3` and others, all bigint. A 32-bit guest
 * has them by their 64-bit names.
 * @param index of the vcpu, default 0.
 * @throws AssertionError for different values; DomainBuilderError `bad-config` for a vcpu that the guest lacks.
 */
export function assertRegisters(domain: Domain, expected: Some<AllRegisters>, index = 0): void {
  requireGuest(domain)
  const vcpu = domain.vcpus[index]
  if (vcpu === undefined) {
    throw new DomainBuilderError('bad-config', 'the guest lacks that vcpu', {
      expected: `0 to ${domain.vcpus.length - 1}`,
      found: `${index}`,
    })
  }
  const { cr0, cr3, cr4, efer } = vcpu
  compare(`vcpu ${index}`, { ...vcpu.registers, cr0, cr3, cr4, efer }, expected, assertRegisters)
}

/** Bytes of a row of memory in a message. */
export const ROW_BYTES = 16

/**
 * Asserts that memory has these bytes.
 * @param address guest-physical, in bytes; a bigint is virtual, and is translated by the guest's page tables.
 * @param expected bytes, or text in UTF-8.
 * @throws AssertionError with the first row that differs; DomainBuilderError `not-mapped` for memory that the guest
 *   lacks.
 */
export function assertMemory(domain: Domain, address: Paddr | Vaddr, expected: Uint8Array | string): void {
  requireGuest(domain)
  const wanted = typeof expected === 'string' ? encodeUtf8(expected) : expected
  if (!(wanted instanceof Uint8Array)) {
    throw new DomainBuilderError('bad-config', 'the expected memory is neither bytes nor a text', {
      expected: 'a Uint8Array or a string',
      found: shown(wanted),
    })
  }
  const isVirtual = typeof address === 'bigint'
  const found = isVirtual ? readVirtual(domain, address, wanted.length) : domain.memory.read(address, wanted.length)
  const first = wanted.findIndex((byte, i) => found[i] !== byte)
  if (first < 0) return
  const row = first - (first % ROW_BYTES)
  const at = isVirtual ? address + BigInt(row) : address + row
  const part = (bytes: Uint8Array) => bytes.subarray(row, row + ROW_BYTES)
  const walk = () => (isVirtual ? walkText(domain, address + BigInt(row)) : [])
  compare(`${isVirtual ? 'virtual' : 'physical'} memory at ${hex(at)}`, part(found), part(wanted), assertMemory, walk)
}

/**
 * Asserts that Xen's PV MMU accepts the guest's page tables.
 * @throws AssertionError with each violation and its path from cr3; DomainBuilderError `bad-config` for a guest that is
 *   not PV.
 */
export function assertValid(domain: Domain): void {
  requireGuest(domain)
  const found = validate(domain).map(({ rule, message, path }) => `${rule}: ${message} (${showPath(path)})`)
  compare('the mapping', found.length === 0 ? 'valid' : found, 'valid', assertValid)
}

/**
 * Asserts that the page tables map these runs and nothing else, in order of address.
 * @param expected parts of each run: `vaddr`, `pages` of 4 KiB, `pfn`, `writable`, `executable`, `pageSize`, `region`.
 * @throws AssertionError for other mappings; DomainBuilderError `not-mapped` if cr3 names no frame of the guest.
 */
export function assertTables(domain: Domain, expected: readonly Some<MappedRun>[]): void {
  requireGuest(domain)
  const collector = new RunCollector(domain, physicalRanges(domain))
  for (const table of walkPageTables(domain)) collector.add(table)
  const { runs } = collector
  compare('the number of mapped runs', runs.length, expected.length, assertTables, () =>
    runs.map(({ vaddr, pages, region }) => `${hex(vaddr)}, ${showSize(pages * PAGE_SIZE)}: ${region}`),
  )
  runs.forEach((run, i) => {
    compare(`run ${i} at ${hex(run.vaddr)}`, run, expected[i] ?? {}, assertTables)
  })
}
