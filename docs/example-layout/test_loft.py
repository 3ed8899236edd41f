from helixstore_loft import Loft

from helixstore.testing import LayoutSuite


class TestLoft(LayoutSuite):
    layout = Loft
