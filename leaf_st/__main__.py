"""``python -m leaf_st``: the command line, also for launchers that take a module."""

from leaf_st.cli.main import main

if __name__ == "__main__":
    main()
