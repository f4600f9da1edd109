"""What a build gets beside its Dockerfile, chosen and sent: the scripts by themselves, against a server that fails."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.parts import Stage

pytestmark = [pytest.mark.browser]

FAKE_SERVER = """
  window.server = { calls: [], bytes: new Uint8Array(), troubles: [], headers: new Set(), held: null };
  const answer = (status, body) => new Response(JSON.stringify(body), { status });
  window.fetch = async (address, { method, body, headers, signal }) => {
    const url = new URL(address, location.href);
    server.calls.push(`${method} ${url.pathname}${url.search}`);
    server.headers.add(headers["X-CSRFToken"]);
    if (method === "DELETE") return answer(200, {});
    const aborted = () => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    if (server.held) await Promise.race([server.held, aborted()]);
    const at = url.searchParams.get("offset") ?? "";
    const isDue = (each) => !each.done && each.method === method && `${each.offset ?? ""}` === at;
    const trouble = server.troubles.find(isDue);
    if (trouble) trouble.done = true;
    if (trouble?.lost) server.bytes = server.bytes.slice(0, trouble.lost);
    if (trouble?.how === "cut") throw new TypeError("Failed to fetch");
    if (trouble?.status) return answer(trouble.status, trouble.body ?? {});
    if (method === "POST" && url.pathname.endsWith("/finish/")) {
      server.size = JSON.parse(body).size;
      return answer(200, { files: 2, size: server.size, dockerfiles: ["Dockerfile"], message: "" });
    }
    if (method === "POST") {
      server.asked = JSON.parse(body);
      server.bytes = new Uint8Array();
      return answer(201, { id: "u1", url: "/builds/uploads/u1/" });
    }
    if (Number(at) !== server.bytes.length) return answer(409, { received: server.bytes.length });
    server.bytes = new Uint8Array(await new Blob([server.bytes, body]).arrayBuffer());
    if (trouble?.how === "answer lost") throw new TypeError("Failed to fetch");
    return answer(200, { received: server.bytes.length });
  };
"""
PIECE = 4 * 1024 * 1024


def context_page(stage: Stage, kind: str, troubles: tuple[dict[str, Any], ...] = (), extra: str = "") -> Page:
    stage.page.add_init_script(f"{FAKE_SERVER} server.troubles = {json.dumps(troubles)};")
    return stage.show(
        f"""<form data-needs-upload action="/made" class="narrow stack">
        <input type="hidden" name="upload" id="id_upload">
        <input name="path" id="id_path" value="Dockerfile" aria-label="Dockerfile">
        <div data-context data-uploads="/builds/uploads/" data-input="id_upload" data-kind="{kind}"
          data-dockerfile-input="id_path" {extra}></div>
        <button class="btn btn-primary" type="submit" name="go" value="1">Build</button></form>""",
        "builds/context",
    )


def received(page: Page) -> dict[str, bytes]:
    """What the server has, unpacked."""
    text = page.evaluate("""async () => {
      const blob = new Blob([server.bytes]);
      const reader = new FileReader();
      await new Promise((done) => { reader.onload = done; reader.readAsDataURL(blob); });
      return reader.result.slice(reader.result.indexOf(",") + 1);
    }""")
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(text))) as archive:
        return {each.name: archive.extractfile(each).read() for each in archive if each.isfile()}  # type: ignore[union-attr]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "project"
    (top / "src").mkdir(parents=True)
    (top / "node_modules" / "deep").mkdir(parents=True)
    (top / "Dockerfile").write_text("FROM scratch\nCOPY src /\n")
    (top / ".dockerignore").write_text("# what the build does not see\nnode_modules\n*.log\nDockerfile\n!keep.log\n")
    (top / "src" / "main.c").write_text("int main;\n")
    (top / "big.bin").write_bytes(bytes(range(256)) * (40 * 1024))  # more than two pieces
    (top / "node_modules" / "deep" / "x.js").write_text("x")
    (top / "trace.log").write_text("x" * 5000)
    (top / "keep.log").write_text("kept")
    return top


def choose_folder(page: Page, folder: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(folder)


def test_a_folder_is_sent_without_its_name_and_without_what_is_ignored(stage: Stage, folder: Path) -> None:
    page = context_page(stage, "folder")
    choose_folder(page, folder)
    expect(page.locator("#id_upload")).to_have_value("u1")
    assert sorted(received(page)) == [".dockerignore", "Dockerfile", "big.bin", "keep.log", "src/main.c"]
    assert received(page)["big.bin"] == (folder / "big.bin").read_bytes()
    assert page.evaluate("server.asked") == {"name": "project", "kind": "tree"}
    assert page.evaluate("server.size === server.bytes.length")
    assert page.evaluate("[...server.headers]") == ["secret"]
    expect(page.get_by_text("Sent: 2 files")).to_be_visible()
    left = page.get_by_text(".dockerignore leaves out 2 files")
    left.click()
    expect(page.get_by_text("node_modules/deep/x.js")).to_be_visible()


@pytest.mark.parametrize(
    "trouble",
    [
        {"method": "PUT", "offset": PIECE, "how": "cut"},
        {"method": "PUT", "offset": PIECE, "how": "answer lost"},
        {"method": "PUT", "offset": PIECE, "status": 502},
        {"method": "PUT", "offset": 2 * PIECE, "status": 409, "body": {"received": 1000}, "lost": 1000},
        {"method": "POST", "how": "cut"},
    ],
    ids=["piece lost", "answer lost", "bad gateway", "server lost some", "start lost"],
)
def test_an_upload_goes_on_where_the_server_is(stage: Stage, folder: Path, trouble: dict[str, Any]) -> None:
    page = context_page(stage, "folder", (trouble,))
    choose_folder(page, folder)
    expect(page.locator("#id_upload")).to_have_value("u1")
    assert page.evaluate("server.troubles.every(({ done }) => done)")
    assert received(page)["big.bin"] == (folder / "big.bin").read_bytes()


def test_what_the_server_refuses_is_said_and_the_form_stays(stage: Stage, folder: Path) -> None:
    refusal = {"message": "The disk is full.", "hint": "Remove old uploads."}
    page = context_page(stage, "folder", ({"method": "PUT", "offset": 0, "status": 413, "body": refusal},))
    choose_folder(page, folder)
    expect(page.get_by_role("alert")).to_contain_text("The disk is full.")
    expect(page.get_by_role("alert")).to_contain_text("Remove old uploads.")
    page.get_by_role("button", name="Build").click()
    expect(page).to_have_url("http://gantry.test/")
    expect(page.locator("#id_upload")).to_have_value("")


def test_a_failure_in_a_source_that_is_not_chosen_holds_nobody_up(stage: Stage, folder: Path) -> None:
    page = context_page(stage, "folder", ({"method": "PUT", "offset": 0, "status": 413},))
    choose_folder(page, folder)
    expect(page.get_by_role("alert")).to_contain_text("The server answered 413.")
    page.evaluate("document.querySelector('[data-context]').hidden = true")
    page.get_by_role("button", name="Build").click()
    expect(page).to_have_url("http://gantry.test/made?upload=&path=Dockerfile&go=1")


def test_the_form_waits_for_the_upload(stage: Stage, folder: Path) -> None:
    page = context_page(stage, "folder")
    page.evaluate("() => { server.held = new Promise((go) => { server.letGo = go; }); }")
    choose_folder(page, folder)
    page.get_by_role("button", name="Build").click()
    expect(page.get_by_text("the form goes after it")).to_be_visible()
    expect(page).to_have_url("http://gantry.test/")
    page.evaluate("server.letGo()")
    expect(page).to_have_url("http://gantry.test/made?upload=u1&path=Dockerfile&go=1")


def test_a_cancelled_upload_is_removed_from_the_server(stage: Stage, folder: Path) -> None:
    page = context_page(stage, "folder")
    choose_folder(page, folder)
    expect(page.locator("#id_upload")).to_have_value("u1")
    page.get_by_role("button", name="Take all out").click()
    expect(page.locator("#id_upload")).to_have_value("")
    assert page.evaluate("server.calls.at(-1)") == "DELETE /builds/uploads/u1/"
    page.evaluate("() => { server.held = new Promise(() => {}); }")
    choose_folder(page, folder)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Sending")).to_be_hidden()
    expect(page.locator("#id_upload")).to_have_value("")


def test_a_bad_ignore_file_names_its_line_and_nothing_is_sent(stage: Stage, folder: Path) -> None:
    (folder / ".dockerignore").write_text("a\n[\n")
    page = context_page(stage, "folder")
    choose_folder(page, folder)
    expect(page.get_by_role("alert")).to_contain_text(".dockerignore line 2: syntax error in pattern")
    assert page.evaluate("server.calls") == []


def test_a_dockerfile_elsewhere_has_rules_of_its_own(stage: Stage, folder: Path) -> None:
    (folder / "src" / "Dockerfile").write_text("FROM scratch\n")
    (folder / "src" / "Dockerfile.dockerignore").write_text("*\n")
    page = context_page(stage, "folder")
    page.get_by_label("Dockerfile").fill("src/Dockerfile")
    choose_folder(page, folder)
    expect(page.locator("#id_upload")).to_have_value("u1")
    assert sorted(received(page)) == [".dockerignore", "src/Dockerfile", "src/Dockerfile.dockerignore"]


def test_files_are_added_by_choice_and_by_drop_and_taken_out(stage: Stage, tmp_path: Path) -> None:
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(name)
    page = context_page(stage, "files")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files([tmp_path / "one.txt", tmp_path / "two.txt"])
    expect(page.locator("#id_upload")).to_have_value("u1")
    page.evaluate("""() => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(["dropped"], "three.txt"));
      const zone = document.querySelector("[data-context]");
      for (const type of ["dragenter", "dragover", "drop"]) {
        zone.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
      }
    }""")
    expect(page.locator(".context-files li")).to_have_count(3)
    expect(page.locator("#id_upload")).to_have_value("u1")
    page.get_by_role("button", name="Take one.txt out").click()
    expect(page.locator(".context-files li")).to_have_count(2)
    expect(page.locator("#id_upload")).to_have_value("u1")
    assert received(page) == {"three.txt": b"dropped", "two.txt": b"two.txt"}
    assert page.evaluate("server.calls.filter((call) => call.startsWith('DELETE')).length") == 2


def drop(page: Page, *paths: Path) -> None:
    """As a person drops what a file manager holds."""
    box = page.locator(".context-zone").bounding_box()
    assert box is not None
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        place = {"x": box["x"] + 20, "y": box["y"] + 20}
        session.send("Input.dispatchDragEvent", {"type": kind, "data": data, **place})


@pytest.mark.parametrize(("kind", "top"), [("folder", ""), ("files", "project/")])
def test_a_dropped_folder_is_walked_through(stage: Stage, folder: Path, kind: str, top: str) -> None:
    for number in range(150):  # a browser names a hundred at a time
        (folder / "src" / f"{number}.txt").write_text(f"{number}")
    page = context_page(stage, kind)
    drop(page, folder)
    expect(page.locator("#id_upload")).to_have_value("u1")
    found = received(page)
    assert len([name for name in found if name.startswith(f"{top}src/")]) == 151
    assert found[f"{top}src/149.txt"] == b"149"
    # Beside a typed Dockerfile the folder's own .dockerignore is a file like others.
    assert (f"{top}node_modules/deep/x.js" in found) is (kind == "files")


def test_a_dropped_archive_is_an_archive(stage: Stage, tmp_path: Path) -> None:
    archive = tmp_path / "app.tar"
    with tarfile.open(archive, "w") as made:
        made.add(__file__, "Dockerfile")
    page = context_page(stage, "folder")
    drop(page, archive)
    expect(page.locator("#id_upload")).to_have_value("u1")
    assert page.evaluate("server.asked") == {"name": "app.tar", "kind": "archive"}


def test_an_archive_is_sent_as_it_is(stage: Stage, tmp_path: Path) -> None:
    archive = tmp_path / "app.tar.gz"
    with tarfile.open(archive, "w:gz") as made:
        made.add(__file__, "Dockerfile")
    page = context_page(stage, "folder")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose an archive").click()
    chooser.value.set_files(archive)
    expect(page.locator("#id_upload")).to_have_value("u1")
    assert bytes(page.evaluate("[...server.bytes]")) == archive.read_bytes()
    assert page.evaluate("server.asked") == {"name": "app.tar.gz", "kind": "archive"}


def test_what_is_too_large_is_said_before_it_is_sent(stage: Stage, folder: Path) -> None:
    page = context_page(stage, "folder", extra='data-max-size="1000000"')
    choose_folder(page, folder)
    expect(page.get_by_role("alert")).to_contain_text("a build takes 1.0 MB at most")
    assert page.evaluate("server.calls") == []
