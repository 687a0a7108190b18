/** What lib/log.ts uses of debug 4.4's core, which its own types do not declare. */
declare module 'debug/src/common.js' {
  /** One namespace: what formatArgs() finds as `this`. */
  export interface Debugger {
    (format: string, ...values: readonly unknown[]): void
    readonly namespace: string
    readonly enabled: boolean
    readonly useColors: boolean
    readonly color: number
    /** Milliseconds since the line before. */
    readonly diff: number
  }
  export interface Environment {
    readonly colors: readonly number[]
    useColors(): boolean
    /** The namespaces that are asked for. */
    load(): string
    save(namespaces: string): void
    log(...line: readonly unknown[]): void
    formatArgs(this: Debugger, line: unknown[]): void
  }
  export interface Debug {
    (namespace: string): Debugger
    readonly formatters: Record<string, (value: unknown) => string>
    humanize(ms: number): string
  }
  export default function setup(environment: Environment): Debug
}
