"""Write every dashboard as JSON to `grafana/dashboards/`."""

from __future__ import annotations

from grafana.files import FOLDER, rendered


def main() -> None:
    """Write the files whose text has changed."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in rendered().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(f"grafana/dashboards/{name}")


if __name__ == "__main__":
    main()
