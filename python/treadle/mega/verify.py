def verify(plans):
    pass
