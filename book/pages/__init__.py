"""What is done to built pages: numbers, footers, cards, links; each a pass over all of them."""
