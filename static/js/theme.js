// Blocking and first in <head>: the theme must stand before anything is painted. Holds only that.
(function () {
  "use strict";
  var root = document.documentElement;
  function stored() {
    try { return localStorage.getItem("gantry-theme"); } catch (error) { return null; } // storage may be forbidden
  }
  function apply(choice) {
    if (choice === "light" || choice === "dark") root.setAttribute("data-bs-theme", choice);
    else root.removeAttribute("data-bs-theme");
    root.setAttribute("data-theme-choice", choice === "light" || choice === "dark" ? choice : "system");
  }
  apply(stored());
  window.addEventListener("storage", function (event) {
    if (event.key === "gantry-theme") apply(event.newValue);
  });
  window.gantryTheme = function (choice) {
    try { localStorage.setItem("gantry-theme", choice); } catch (error) { /* it lasts for this page only */ }
    apply(choice);
    document.dispatchEvent(new CustomEvent("gantry:theme", { detail: choice }));
  };
})();
