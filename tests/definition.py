"""Reading an Apptainer definition file: its header and its sections, without Apptainer."""

from pathlib import Path

# https://apptainer.org/docs/user/main/definition_files.html
SECTIONS = ("setup", "files", "environment", "post", "runscript", "startscript", "test", "labels", "help")
SCRIPTS = ("environment", "post", "runscript", "test")


def sections_of(path: Path) -> dict[str, str]:
    """The text of each section by its name; the header, lines of `Key: value`, by an empty one."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in path.read_text().splitlines():
        if line.startswith("%"):
            name = line[1:].strip()
            if name in found:
                raise ValueError(f"{path}: %{name} is there twice")
            found[name] = []
        elif not line.startswith("#"):
            found[name].append(line)
    return {name: "\n".join(lines).strip() for name, lines in found.items()}
