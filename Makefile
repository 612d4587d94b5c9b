# Every target is a command of scripts/dev, which works where make is absent.
.PHONY: test ci demo serve lint types docs bench outdated clean

export EXAMPLE QUICK VERSIONS

test ci demo serve lint types docs bench outdated clean:
	@python3 scripts/dev $@
