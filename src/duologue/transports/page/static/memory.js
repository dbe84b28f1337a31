// What the browser remembers for the page.

const memory = new Map(); // where the browser keeps nothing: in private windows, in other people's frames

/** What was remembered there, or null; in this page at least, if the browser keeps nothing. */
export function recall(storage, key) {
  try {
    return memory.get(storage + key) ?? window[storage].getItem(key);
  } catch {
    return null;
  }
}

/** Keep this there. */
export function remember(storage, key, value) {
  try {
    window[storage].setItem(key, value);
  } catch {
    memory.set(storage + key, value);
  }
}
