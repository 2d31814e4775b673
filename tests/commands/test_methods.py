"""The list of methods, compared with the methods."""

from atnet_jax import commands, models


def test_every_method_is_listed_with_its_size_and_source(capsys):
    assert commands.run(["methods"]) == 0
    networks, features = capsys.readouterr().out.split("Features and an SVM:")
    for name in models.names():
        method = models.find(name)
        listed = networks if method.kind == "network" else features
        lines = listed.split(f"\n  {name} ")[1].splitlines()
        assert lines[0].strip() == (method.paper_row or method.title)
        about = []
        for line in lines[1:]:
            if not line.startswith(" " * 20):
                break
            about.append(line.strip())
        text = " ".join(about)
        size = method.size()
        assert text.startswith(f"Reads {', '.join(method.inputs)}; ")
        assert size is None or f"{size:,} " in text
        assert method.source and method.source in text
        assert all(preset in text for preset in method.presets)
