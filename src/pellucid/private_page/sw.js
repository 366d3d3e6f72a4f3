// Keeps this page's files, so that it works without a network after the first visit. The store's name is their
// hash: a new page or model has another, and the old one is removed once no page uses it.
const STORE = "pellucid-page-" + "HASH";
const FILES = [FILES];

addEventListener("install", (event) => {
  // Past the browser's own cache, which may hold files of the page before.
  const asked = FILES.map((file) => new Request(file, { cache: "reload" }));
  event.waitUntil(caches.open(STORE).then((store) => store.addAll(asked)).then(() => skipWaiting()));
});

addEventListener("activate", (event) => {
  const old = (name) => name.startsWith("pellucid-page-") && name !== STORE;
  event.waitUntil(
    caches.keys().then((names) => Promise.all(names.filter(old).map((name) => caches.delete(name)))).then(() => clients.claim()),
  );
});

// What only graphics cards need is kept when it is first wanted.
async function fetched(event) {
  const answer = await fetch(event.request);
  if (answer.ok && new URL(event.request.url).pathname.includes("/parts/graphics-")) {
    const copy = answer.clone();
    event.waitUntil(caches.open(STORE).then((store) => store.put(event.request, copy)));
  }
  return answer;
}

addEventListener("fetch", (event) => {
  if (event.request.method !== "GET") return;
  const kept = caches.open(STORE).then((store) => store.match(event.request, { ignoreSearch: true }));
  event.respondWith(kept.then((answer) => answer ?? fetched(event)));
});
