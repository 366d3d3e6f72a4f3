// What the page remembers between visits. Storage may be switched off: then it forgets.

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
