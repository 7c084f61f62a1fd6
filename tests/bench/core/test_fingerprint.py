"""Claims about fingerprints: they follow a file's content, and within a block of files at rest each is read once."""

from antipasto_bench.core.fingerprint import files_at_rest, fingerprint, model_fingerprint


def test_a_fingerprint_follows_the_content_unless_files_are_said_to_be_at_rest(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("a")
    first = fingerprint(str(file))
    file.write_text("b, and longer")
    assert fingerprint(str(file)) != first
    with files_at_rest():
        second = fingerprint(str(file))
        file.write_text("c, and longer still")
        assert fingerprint(str(file)) == second
    assert fingerprint(str(file)) not in (first, second)


def test_a_model_and_a_file_of_one_name_have_fingerprints_of_their_own(tmp_path):
    with files_at_rest():
        folder = str(tmp_path)  # no model: it has no config.json
        assert model_fingerprint(folder) == folder
        assert fingerprint(folder).startswith("sha256:")
