# Every target is a command of scripts/dev, which works where make is absent.
.PHONY: test ci demo serve lint types docs bench mutation outdated clean

export EXAMPLE MODULE QUICK VERSIONS

test ci demo serve lint types docs bench mutation outdated clean:
	@python3 scripts/dev $@
