"""The models by the names that files and the command line give them."""

from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.nn.sr_gnn import SRGNN
from tagnn_fast.nn.tagnn import TAGNN
from tagnn_fast.nn.tagnn_pp import TAGNNPP

ARCHITECTURES: dict[str, type[SessionModel]] = {"tagnn_pp": TAGNNPP, "tagnn": TAGNN, "sr_gnn": SRGNN}
