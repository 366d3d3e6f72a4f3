// Settings kept between visits, if the browser's storage is enabled.

export function remember(name, value) {
  try {
    if (value === null) localStorage.removeItem(`pellucid-${name}`);
    else localStorage.setItem(`pellucid-${name}`, value);
  } catch {
    return;
  }
}

export function recall(name) {
  try {
    return localStorage.getItem(`pellucid-${name}`);
  } catch {
    return null;
  }
}
