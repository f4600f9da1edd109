// Everything small that makes the pages pleasant. Each module sets itself up by delegation on the document, so
// that nothing needs binding again after htmx swapped a fragment.
import "./ui/swaps.js";
import "./ui/menu.js";
import "./ui/confirm.js";
import "./ui/act.js";
import "./ui/bulk.js";
import "./ui/toast.js";
import "./ui/time.js";
import "./ui/copy.js";
import "./ui/keys.js";
import "./ui/frame.js";
// Last: once the page says "Live", everything above answers.
import "./live.js";
