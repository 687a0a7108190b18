/**
 * Writes the kernel of hello-kernel.ts into a file.
 *
 * Source: hello-kernel.ts.
 * Gotcha: this is a separate program, so that a program that only imports the kernel never writes a file.
 *
 *     node dist/examples/write-hello-kernel.js hello.elf
 */
import { writeFileSync } from 'node:fs'
import { helloKernel } from './hello-kernel.js'

const [, , output = 'hello.elf'] = process.argv
writeFileSync(output, helloKernel())
console.log(`${output}: a PV kernel that says hello from start_info`)
