/**
 * The text of the page's script: map-client/main.ts with everything that it imports.
 *
 * Source: bundle/write.ts, which makes the module when the project is built.
 * Gotcha: it is text and no function, because a user's bundler may rewrite functions: the page must not depend on that.
 */
export declare const MAP_SCRIPT: string
