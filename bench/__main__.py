"""All the figures of the README, one after the other: `make bench`."""

from bench import cascade, ear, encoder, line, load, mini_omni, page, voice
from bench.turns.__main__ import main as turns

if __name__ == "__main__":
    turns()
    load.main()
    line.main()
    page.main()
    ear.main()
    voice.main()
    cascade.main()
    encoder.main()
    mini_omni.main()
