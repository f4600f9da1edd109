// Blocking, in <head>: modules run once the whole page has been read, and a person may press a button before. A form that
// a module has to come between (it asks first, or fetches a passkey) is held until they run, and then sent.
(function () {
  "use strict";
  var held = null;
  function waits(element) {
    return element && (element.hasAttribute("data-confirm") || element.hasAttribute("data-passkey"));
  }
  function hold(event) {
    if (!waits(event.target) && !waits(event.submitter)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    held = [event.target, event.submitter];
  }
  document.addEventListener("submit", hold, true);
  document.addEventListener("DOMContentLoaded", function () { // deferred scripts have run
    document.removeEventListener("submit", hold, true);
    if (held) held[0].requestSubmit(held[1]);
  });
})();
