/**
 * The two functions of Node's `util` and `assert` that elfy and its Parser use, so that the bundle imports neither.
 *
 * Source: https://nodejs.org/api/util.html#utilinheritsconstructor-superconstructor
 * Gotcha: one file replaces both modules. elfy asserts only in resolveBody(), which this library does not call.
 */
exports.inherits = (derived, base) => Object.setPrototypeOf(derived.prototype, base.prototype)
exports.equal = (actual, expected) => {
  // biome-ignore lint/suspicious/noDoubleEquals: this is how assert.equal compares.
  if (actual != expected) throw new Error(`${actual} == ${expected}`)
}
