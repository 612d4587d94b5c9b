# Every target is a command of scripts/dev, which works where make is absent.
.PHONY: test ci demo serve lint types docs bench soak mutation outdated clean

export EXAMPLE MODULE QUICK SOAK_SECONDS VERSIONS

test ci demo serve lint types docs bench soak mutation outdated clean:
	@python3 scripts/dev $@
