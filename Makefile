# Every target is a command of scripts/dev, which works where make is absent.
.PHONY: test demo serve lint types docs bench clean

export QUICK

test demo serve lint types docs bench clean:
	@python3 scripts/dev $@
