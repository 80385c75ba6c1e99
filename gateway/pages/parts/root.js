// The address below which the gateway serves, with the path that a proxy may have put before it.

export const root = new URL("../../", import.meta.url);
