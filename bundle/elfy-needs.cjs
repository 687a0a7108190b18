/**
 * The two functions of Node's `util` and `assert` that elfy and its Parser mention, so that the bundle asks for neither.
 *
 * Source: https://nodejs.org/api/util.html#utilinheritsconstructor-superconstructor
 * Gotcha: one file stands for both modules; elfy asserts only in what this library does not call, resolveBody().
 */
exports.inherits = (derived, base) => Object.setPrototypeOf(derived.prototype, base.prototype)
exports.equal = (actual, expected) => {
  // biome-ignore lint/suspicious/noDoubleEquals: this is how assert.equal compares.
  if (actual != expected) throw new Error(`${actual} == ${expected}`)
}
