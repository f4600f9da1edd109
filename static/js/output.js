// An operation's output, from its first line, then as it comes: <div data-output="7"> follows /ws/operations/7/output.
// A reconnect resumes after the last line had, so that nothing is missed or shown twice.

const NOT_ALLOWED = 4403;
const STREAMS = new Set(["stderr", "error", "note"]);

function follow(box) {
  const status = document.getElementById("output-status");
  let after = -1;
  let attempt = 0;
  let ended = false;

  function append(lines) {
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    const fragment = document.createDocumentFragment();
    for (const [seq, at, stream, text] of lines) {
      after = seq;
      for (const line of text.replace(/\n$/, "").split("\n")) {
        const row = document.createElement("div");
        row.className = STREAMS.has(stream) ? `line ${stream}` : "line";
        const time = document.createElement("span");
        time.className = "at";
        time.textContent = new Date(at).toLocaleTimeString("en-GB");
        row.append(time, `${line}\n`);
        fragment.append(row);
      }
    }
    box.append(fragment);
    if (atEnd) box.scrollTop = box.scrollHeight;
  }

  function connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const query = after >= 0 ? `?after=${after}` : "";
    const socket = new WebSocket(`${scheme}//${location.host}/ws/operations/${box.dataset.output}/output${query}`);
    socket.onmessage = (event) => {
      attempt = 0;
      const message = JSON.parse(event.data);
      if (message.lines) append(message.lines);
      if (message.ended) ended = true;
      status.textContent = ended ? "Output, complete" : "Output, as it comes";
    };
    socket.onclose = (event) => {
      if (ended && after < 0) status.textContent = "It wrote no output";
      if (!ended && event.code === NOT_ALLOWED) status.textContent = "Output, cut off: your right to it has ended";
      if (ended || event.code >= 4400) return;
      status.textContent = "Output, reconnecting…";
      const ceiling = Math.min(10_000, 500 * 2 ** attempt);
      attempt += 1;
      setTimeout(connect, ceiling / 2 + (Math.random() * ceiling) / 2);
    };
  }
  connect();
}

for (const box of document.querySelectorAll("[data-output]")) follow(box);
