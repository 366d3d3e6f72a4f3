"use strict";
// Two comforts: a remembered switch between light and dark, and images that enlarge. The page reads without them.
(() => {
  const root = document.documentElement;
  const names = { "": "system", light: "light", dark: "dark" };
  const remembered = { get: () => "", set: () => {} };
  try {
    localStorage.getItem("pellucid-theme");
    remembered.get = () => localStorage.getItem("pellucid-theme") || "";
    remembered.set = (value) => localStorage.setItem("pellucid-theme", value);
  } catch {
    // Some browsers keep nothing for files opened from disk; the switch then works for this visit.
  }
  const button = document.createElement("button");
  const show = (theme) => {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    button.textContent = `Theme: ${names[theme] || names[""]}`;
  };
  button.type = "button";
  button.addEventListener("click", () => {
    const order = ["", "light", "dark"];
    const next = order[(order.indexOf(root.dataset.theme || "") + 1) % order.length];
    remembered.set(next);
    show(next);
  });
  show(remembered.get());
  document.querySelector(".index").append(button);

  const dialog = document.createElement("dialog");
  const caption = document.createElement("p");
  dialog.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  for (const pair of document.querySelectorAll(".pair")) {
    const open = () => {
      const copy = document.createElement("div");
      copy.className = "pair";
      for (const picture of pair.querySelectorAll("img")) {
        const large = document.createElement("img");
        large.src = picture.src;
        large.alt = picture.alt;
        copy.append(large);
      }
      caption.textContent = pair.dataset.caption;
      dialog.replaceChildren(copy, caption);
      dialog.showModal();
    };
    pair.setAttribute("role", "button");
    pair.setAttribute("tabindex", "0");
    pair.setAttribute("aria-label", `Enlarge ${pair.dataset.caption}`);
    pair.addEventListener("click", open);
    pair.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        open();
      }
    });
  }
})();
