from satchel import NullStore
from satchel.testing import ContractConformance


class TestNullStore(ContractConformance):
    def make_store(self, clock, place):
        return NullStore(clock=clock)
