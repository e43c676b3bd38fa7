// Runs before the first paint, so that a chosen theme never flashes. Not a module for that reason.
try {
  const chosen = localStorage.getItem("understudy.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // storage may be forbidden; the system's theme is then used
}
