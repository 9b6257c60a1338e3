// The visitor's choice of dark or light, before the first picture is drawn. Without a choice the system decides.
(() => {
  const KEY = "relay-theme";
  const root = document.documentElement;
  const chosen = () => {
    try { return localStorage.getItem(KEY); } catch { return null; }
  };
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  if (["dark", "light"].includes(chosen())) root.dataset.theme = chosen();

  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-toggle]")) return;
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem(KEY, root.dataset.theme); } catch { /* a private window forgets it */ }
    document.dispatchEvent(new Event("relay:theme"));
  });
})();
