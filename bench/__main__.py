"""All the figures of the README, one after the other: `make bench`."""

from bench import cascade, load, mini_omni, page

if __name__ == "__main__":
    load.main()
    page.main()
    cascade.main()
    mini_omni.main()
