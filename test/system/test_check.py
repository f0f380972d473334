"""`sluice --check`: every file, every error at once, each at its key."""

GOOD = "data: x\nlisteners:\n  mqtt:\nsinks:\n  file: {path: t}\n"


def write(directory, name, text):
    path = directory / name
    path.write_text(text)
    return str(path)


def test_each_of_several_files_is_checked(sluice, tmp_path):
    gw = sluice(start=False)
    good, bad = write(tmp_path, "good.yaml", GOOD), write(tmp_path, "bad.yaml", "nosuch: 1\n")
    for files in ([good, bad], [bad, good], [good, bad, good]):
        done = gw.command("--check", *files)
        assert done.returncode == 2
        assert "good.yaml: good" in done.stdout and "bad.yaml:1:1: nosuch: unknown key" in done.stderr
    assert gw.command("--check", good, good).returncode == 0
    assert gw.command("--check", good, "--check", bad).returncode == 2


def test_errors_of_modules_are_reported_together_with_unknown_keys(sluice, tmp_path):
    """One run shows all of them, in another setting of the same file too."""
    path = write(tmp_path, "many.yaml", "nosuch: 1\n"
                 "listeners:\n  mqtt: {max_packet: zzz}\n  odd: {protocol: nope}\n"
                 "sinks:\n  es:\n    type: elasticsearch\n    backoff_min: 10s\n    backoff_max: 5s\n"
                 "  e2: {type: elasticsearch,\n       nodes: [\"ftp://x\"]}\n")
    errors = sluice(start=False).command("--check", path).stderr.replace(path, "F").splitlines()
    assert [line.split(": ")[0] for line in errors] == ["F:1:1", "F:3:22", "F:4:19", "F:9:5", "F:11:8"]


def test_an_error_of_a_sink_is_placed_at_its_key(sluice, tmp_path):
    path = write(tmp_path, "s.yaml", GOOD.replace("{path: t}", "\n    path: t\n    backoff_min: 2s\n    backoff_max: 1s"))
    done = sluice(start=False).command("--check", path)
    assert done.returncode == 2
    assert f"{path}:8:5: sinks.file: backoff_max: is less than backoff_min" in done.stderr


def test_a_data_directory_that_cannot_be_made_names_its_setting(sluice, tmp_path):
    path = write(tmp_path, "d.yaml", "data: /proc/nowhere\nlisteners:\n  mqtt: {listen: \"127.0.0.1:0\"}\n"
                 "sinks:\n  file: {path: t}\nadmin: {enabled: false}\n")
    done = sluice(start=False).command("--config", path)
    assert done.returncode == 1
    assert "data: /proc/nowhere" in done.stderr
