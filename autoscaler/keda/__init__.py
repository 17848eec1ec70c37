"""An external scaler for KEDA: the fleet is sized by what the autoscaler knows, the pools by the autoscaler.

``fleet`` looks at the workers as the daemon does and never acts, ``question`` is what a ScaledObject asks,
``answer`` what it is told (pure), ``messages`` the interface, ``server`` speaks it. Needs the extra ``keda``.
"""
